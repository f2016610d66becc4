// ./run bench in a GPU bundle: the dense f16 product on mma.sync, TFLOP/s by shape, each result checked on sampled outputs.
import { Random } from '../../src/base/random.ts';
import { openDevice } from '../../src/device/open.ts';
import { dense16, TILE } from '../../src/kernels/dense16/kernel.ts';

const RUNS = 20;
const SAMPLES = 200;
using device = await openDevice('nvidia');
console.log(
  `${device.name}: C = A B^T, f16, f32 sums, mma.sync with 4 stages of cp.async; random data, ${RUNS} launches`,
);
for (const size of [1024, 4096, 8192]) {
  const random = new Random(size);
  // Random numbers are slow to draw: a prime-sized block is repeated, so that no two rows are alike.
  const block = Float16Array.from({ length: 65_521 }, () => random.normal());
  const fill = (): Float16Array => {
    const values = new Float16Array(size * size);
    for (let at = 0; at < values.length; at += block.length) values.set(block.subarray(0, values.length - at), at);
    return values;
  };
  const [A, B, C] = [fill(), fill(), new Float16Array(size * size)];
  using a = device.allocate(A.byteLength, 'A');
  using b = device.allocate(B.byteLength, 'B');
  using c = device.allocate(C.byteLength, 'C');
  a.write(A);
  b.write(B);
  using product = device.load(dense16({ m: size, n: size, k: size }));
  const launch = (): void => product.launch([size / TILE, size / TILE], { A: a, B: b, C: c });
  launch();
  device.synchronize();
  const started = performance.now();
  for (let run = 0; run < RUNS; run++) launch();
  device.synchronize();
  const seconds = (performance.now() - started) / 1000 / RUNS;
  c.read(C);
  let [difference, norm] = [0, 0];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const [i, j] = [random.integer(size), random.integer(size)];
    let sum = 0;
    for (let p = 0; p < size; p++) sum += A[i * size + p]! * B[j * size + p]!;
    difference += (sum - C[i * size + j]!) ** 2;
    norm += sum ** 2;
  }
  console.log(
    `${size}^3: ${(seconds * 1e6).toFixed(0)} us, ${((2 * size ** 3) / seconds / 1e12).toFixed(1)} TFLOP/s, relative error ${Math.sqrt(difference / norm).toExponential(1)}`,
  );
}
