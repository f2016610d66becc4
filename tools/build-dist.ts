// Compiles src/ to dist/ for the package, with the WebAssembly kernels and tables of measurements beside the code that loads them.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, readdirSync, rmSync } from 'node:fs';

rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);
for (const file of readdirSync('src/cpu'))
  if (file.endsWith('.wasm')) copyFileSync(`src/cpu/${file}`, `dist/cpu/${file}`);
const tuned = 'kernels/marlin/tuned';
if (existsSync(`src/${tuned}`)) cpSync(`src/${tuned}`, `dist/${tuned}`, { recursive: true });
