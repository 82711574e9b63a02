/* A library with TLS_BYTES of each thread's storage, in static TLS where it is compiled so. */
static __thread unsigned char storage[TLS_BYTES];

unsigned char *tls_storage(void);

unsigned char *tls_storage(void)
{
	return storage;
}
