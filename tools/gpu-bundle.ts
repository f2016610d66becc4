// npm run gpu:bundle: writes .gpu/, a folder that runs the GPU tests and benchmarks on a host with neither Node nor npm (python3 unpacks Node there).
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { commit } from '../src/bench/machine.ts';

const projectSchema = z.object({ version: z.string(), dependencies: z.record(z.string(), z.string()) });
const packageSchema = z.object({ dependencies: z.record(z.string(), z.string()).default({}) });
const target = '.gpu';
const nodeArchive = join(target, 'node.xz');
mkdirSync(target, { recursive: true });

// Stripped and compressed, Node 24 is 27 MB instead of 127; it changes seldom, so an archive that is there is kept.
if (!existsSync(nodeArchive)) {
  const stripped = join(target, 'node');
  cpSync(process.execPath, stripped);
  execFileSync('strip', [stripped]);
  execFileSync('xz', ['-9', '--threads=0', '--force', stripped]);
}
for (const folder of ['bin', 'src', 'test', 'bench', 'models', 'node_modules'])
  rmSync(join(target, folder), { recursive: true, force: true });
for (const folder of ['bin', 'src', 'test/gpu', 'bench/gpu', 'bench/results'])
  cpSync(folder, join(target, folder), { recursive: true, filter: (path) => !path.endsWith('.test.ts') });
const { version, dependencies } = projectSchema.parse(JSON.parse(readFileSync('package.json', 'utf8')));
for (const name of closure(Object.keys(dependencies)))
  cpSync(join('node_modules', name), join(target, 'node_modules', name), {
    recursive: true,
    filter: (path) => !/\.(map|d\.[cm]?ts|md)$|\/zod\/src(\/|$)/.test(path),
  });
// koffi's binaries lie beside it.
cpSync('node_modules/@koromix', join(target, 'node_modules', '@koromix'), { recursive: true });
// Where the checkout travels along, its models need not travel twice.
if (!process.argv.includes('--without-models')) cpSync('models', join(target, 'models'), { recursive: true });
writeFileSync(join(target, 'COMMIT'), commit() ?? 'unknown');
writeFileSync(join(target, 'package.json'), `${JSON.stringify({ type: 'module', version })}\n`);
writeFileSync(
  join(target, 'run'),
  `#!/usr/bin/env bash
# ./run test [--json FILE]: every GPU test of this bundle; exit code 0 when all agree. ./run bench [--json FILE]: the GPU benchmarks;
# exit code 0 when all results are right.
# ./run steps: the steps towards the 4-bit product, timed. ./run gemm [flags]: marlin bench gemm.
# ./run decode: tokens a second of a whole network. ./run marlin VERB: the command line.
# ./run smoke: the driver binding alone, a report in JSON.
set -euo pipefail
cd "$(dirname "$0")"
if [ ! -x ./node ]; then
  python3 -c "import lzma, shutil; shutil.copyfileobj(lzma.open('node.xz'), open('node.part', 'wb'))"
  chmod +x node.part && mv node.part node
fi
[ -e models ] || ln -s ../models models
case "\${1:-}" in
  test) shift; exec ./node test/gpu/main.ts "$@" ;;
  bench) shift; exec ./node bench/gpu/main.ts "$@" ;;
  decode) shift; exec ./node bench/gpu/decode-main.ts "$@" ;;
  steps) shift; exec ./node bench/gpu/steps-main.ts "$@" ;;
  gemm) shift; exec ./node bin/marlin.js bench gemm "$@" ;;
  marlin) shift; exec ./node bin/marlin.js "$@" ;;
  smoke) exec ./node src/cuda/cuda.gpu.ts ;;
  *) echo "usage: ./run test [--json FILE] | bench [--json FILE] | decode [--json FILE] | steps [--json FILE] | gemm [flags] | marlin VERB | smoke" >&2; exit 2 ;;
esac
`,
  { mode: 0o755 },
);
console.log(
  `${target}/ is ready: node.xz ${(statSync(nodeArchive).size / 1e6).toFixed(1)} MB; start it with ${target}/run test`,
);

/** Packages and all that they need to run. */
function closure(names: readonly string[]): ReadonlySet<string> {
  const found = new Set<string>();
  const add = (name: string): void => {
    if (found.has(name)) return;
    found.add(name);
    const text = readFileSync(join('node_modules', name, 'package.json'), 'utf8');
    Object.keys(packageSchema.parse(JSON.parse(text)).dependencies).forEach(add);
  };
  names.forEach(add);
  return found;
}
