/* Objects, threads and direct buffers; a checksum as the result. The virtual machine's heap is its
 * own, all else of it (the compiler, metaspace, threads, buffers) comes from malloc. */
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.zip.CRC32;

public class Objects {
	static long work(int seed) {
		TreeMap<String, byte[]> rows = new TreeMap<>();
		for (int i = 0; i < 20000; i++)
			rows.put("row " + (i * 7919 + seed) % 65536, new byte[i % 300]);
		CRC32 sum = new CRC32();
		rows.forEach((name, bytes) -> {
			sum.update(name.getBytes());
			sum.update(bytes);
		});
		List<ByteBuffer> buffers = new ArrayList<>();
		for (int i = 1; i < 200; i++) {
			ByteBuffer buffer = ByteBuffer.allocateDirect(i * 1000);
			buffer.put(i, (byte) i);
			buffers.add(buffer);
		}
		for (ByteBuffer buffer : buffers)
			sum.update(buffer);
		return sum.getValue();
	}

	public static void main(String[] arguments) throws Exception {
		int rounds = Integer.parseInt(arguments[0]);
		IntStream.range(0, rounds).parallel().mapToLong(Objects::work).sorted()
			.forEachOrdered(System.out::println);
	}
}
