#!/usr/bin/env node
// Starts the command line: from the sources in a checkout, from dist/ in an installed package. Plain JavaScript that old Nodes can parse.
/* oxlint-disable typescript/strict-boolean-expressions -- in plain JavaScript nothing has a type */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const NEEDED = 24;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const localNode = here('../node_modules/.bin/node');

if (Number(process.versions.node.split('.')[0]) >= NEEDED) {
  module.enableCompileCache(); // 0.2 s to start become 0.1 s
  await start();
} else if (existsSync(localNode) && process.env.MARLIN_RESTARTED === undefined) {
  restart();
} else {
  refuse(
    'node-too-old',
    `marlin-ts needs Node ${NEEDED} or newer; this is ${process.version}.`,
    `Install a newer Node, for example with "npm install node@${NEEDED}".`,
  );
}

async function start() {
  const source = here('../src/cli/main.ts');
  try {
    const { main } = await import(existsSync(source) ? source : here('../dist/cli/main.js'));
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    refuse(
      'not-installed',
      `marlin-ts is not installed completely: ${error.message}.`,
      'Run "npm ci" in the checkout.',
    );
  }
}

/** A checkout brings its own Node, which npm and npx find by themselves; a direct call finds it here. */
function restart() {
  const child = spawn(localNode, process.argv.slice(1), {
    stdio: 'inherit',
    env: { ...process.env, MARLIN_RESTARTED: '1' },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    process.exitCode = code === null ? 128 + constants.signals[signal] : code;
  });
}

/** In the same form as the errors of main.ts. */
function refuse(code, message, fix) {
  if (process.argv.includes('--json')) console.log(JSON.stringify({ error: { code, message, fix } }));
  else console.error(`error ${message} [${code}]\n  fix ${fix}`);
  process.exitCode = 2;
}
