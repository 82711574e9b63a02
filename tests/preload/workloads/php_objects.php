<?php
// Arrays and strings, with PHP's own allocator off; a digest as the result.
// usage: php -n php_objects.php ROUNDS
$digest = hash_init("sha256");
for ($round = 0; $round < (int)$argv[1]; $round++) {
	$rows = [];
	for ($i = 0; $i < 20000; $i++)
		$rows["row " . ($i * 7919 % 65536)] = str_repeat(chr(65 + $i % 26), $i % 300);
	ksort($rows);
	foreach ($rows as $name => $text)
		hash_update($digest, $name . $text);
	hash_update($digest, serialize(array_filter($rows, fn($text) => strlen($text) % 3 == 0)));
	hash_update($digest, preg_replace("/row (\\d)/", "line $1", implode(",", array_keys($rows))));
}
echo hash_final($digest), "\n";
