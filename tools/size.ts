// Prints the largest source files: the soft limit is 300 lines, a kernel's body may be longer.
import { globSync, readFileSync } from 'node:fs';

const SOFT_LIMIT = 300;
const sizes = globSync('src/**/*.ts')
  .filter((file) => !/\.(test|fixture)\.ts$/.test(file))
  .map((file) => ({ file, lines: readFileSync(file, 'utf8').split('\n').length - 1 }))
  .toSorted((a, b) => b.lines - a.lines);
const total = sizes.reduce((sum, { lines }) => sum + lines, 0);
console.log(`${total} lines in ${sizes.length} files; the largest:`);
for (const { file, lines } of sizes.slice(0, 5))
  console.log(`  ${String(lines).padStart(5)}${lines > SOFT_LIMIT ? ' !' : '  '} ${file}`);
