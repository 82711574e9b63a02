// Buffers, maps, worker threads and compression; a digest as the result.
// usage: node_objects.js ROUNDS
const crypto = require("crypto");
const zlib = require("zlib");
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");

function work(seed) {
	const digest = crypto.createHash("sha256");
	const rows = new Map();
	for (let i = 0; i < 20000; i++)
		rows.set(`row ${(i * 7919 + seed) % 65536}`, Buffer.alloc(i % 200, i % 256));
	for (const name of [...rows.keys()].sort())
		digest.update(name).update(rows.get(name));
	const text = Buffer.from(JSON.stringify([...rows.keys()]).repeat(4));
	digest.update(zlib.gunzipSync(zlib.gzipSync(text)));
	return digest.digest("hex");
}

if (isMainThread) {
	const rounds = Number(process.argv[2]);
	const ends = [];
	for (let round = 0; round < rounds; round++)
		ends.push(new Promise((resolve, reject) => {
			const worker = new Worker(__filename, { workerData: round });
			worker.on("message", resolve);
			worker.on("error", reject);
		}));
	Promise.all(ends).then((digests) => console.log(digests.join("\n"), work(rounds)));
} else {
	parentPort.postMessage(work(workerData));
}
