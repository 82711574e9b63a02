// A burst of node: buffers outside the JavaScript heap, filled, compressed in parts and let go.
'use strict';
const readline = require('readline');
const zlib = require('zlib');

readline.createInterface({ input: process.stdin }).on('line', () => {
	let buffers = [];
	let sum = 0;
	for (let i = 0; i < 3600; i++) {
		const buffer = Buffer.allocUnsafeSlow(4096 + (i * 7919) % 61440).fill(i & 255);
		buffers.push(buffer);
		if (i % 60 === 0)
			sum += zlib.deflateSync(buffer, { level: 1 }).length;
	}
	if (sum === 0)
		process.exit(1);
	buffers = null;
	global.gc();
	console.log('done');
});
