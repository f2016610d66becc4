// The cache on disk: where it lies, hits and misses, broken files, folders that cannot be written, writers at the same time.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { cacheFolder, cacheKey, readCubin, writeCubin } from './cache.ts';

const root = mkdtempSync(join(tmpdir(), 'marlin-cache-'));
after(() => rmSync(root, { recursive: true }));
const key = cacheKey(['ptx']);
const file = (folder: string): string => join(folder, 'cubin', `${key}.cubin`);

test('MARLIN_CACHE_DIR, then XDG_CACHE_HOME, then the home, then none', () => {
  const home = (): string => '/home/someone';
  assert.equal(cacheFolder({ MARLIN_CACHE_DIR: root, XDG_CACHE_HOME: '/xdg' }, home), root);
  assert.equal(cacheFolder({ MARLIN_CACHE_DIR: join(root, 'not/yet') }, home), join(root, 'not/yet'));
  assert.equal(cacheFolder({ XDG_CACHE_HOME: '/xdg' }, home), join('/xdg', 'marlin-ts'));
  assert.equal(cacheFolder({ XDG_CACHE_HOME: 'relative' }, home), join('/home/someone', '.cache', 'marlin-ts'));
  assert.equal(cacheFolder({}, home), join('/home/someone', '.cache', 'marlin-ts'));
  const homeless = (): string => {
    throw new Error('ENOENT');
  };
  assert.equal(cacheFolder({}, homeless), null);
});

test('a MARLIN_CACHE_DIR that cannot be one is refused', () => {
  const plain = join(root, 'plain');
  writeFileSync(plain, '');
  for (const value of ['', ' ', 'relative/path', plain]) {
    assert.throws(() => cacheFolder({ MARLIN_CACHE_DIR: value }), {
      code: 'cache-folder-invalid',
      message: /MARLIN_CACHE_DIR/,
    });
  }
});

test('keys differ whenever a part does, also where the parts joined are the same', () => {
  const parts = fc.array(fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null)), { maxLength: 5 });
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      assert.match(cacheKey(a), /^[0-9a-f]{64}$/);
      assert.equal(cacheKey(a) === cacheKey(b), JSON.stringify(a) === JSON.stringify(b));
    }),
  );
  assert.notEqual(cacheKey(['ab', 'c']), cacheKey(['a', 'bc']));
});

test('what is written is read again, byte for byte', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (cubin) => {
      assert.equal(writeCubin(root, key, cubin), true);
      assert.deepEqual(readCubin(root, key), Uint8Array.from(cubin));
    }),
    { numRuns: 20 },
  );
  assert.equal(readCubin(root, cacheKey(['other'])), null);
  assert.deepEqual(readdirSync(join(root, 'cubin')), [`${key}.cubin`], 'no temporary file is left');
});

test('a file with any byte changed, cut or added is none, and is written over', () => {
  const cubin = Uint8Array.of(127, 69, 76, 70, 1, 2, 3);
  writeCubin(root, key, cubin);
  const good = readFileSync(file(root));
  for (let i = 0; i < good.length; i++) {
    const broken = Uint8Array.from(good);
    broken[i]! ^= 1;
    writeFileSync(file(root), broken);
    assert.equal(readCubin(root, key), null, `byte ${i}`);
    writeFileSync(file(root), good.subarray(0, i));
    assert.equal(readCubin(root, key), null, `cut to ${i}`);
  }
  writeFileSync(file(root), Buffer.concat([good, Buffer.of(0)]));
  assert.equal(readCubin(root, key), null);
  writeCubin(root, key, cubin);
  assert.deepEqual(readCubin(root, key), cubin);
});

test('a folder that cannot be written keeps nothing and says nothing', () => {
  const under = join(root, 'file');
  writeFileSync(under, '');
  assert.equal(writeCubin(under, key, Uint8Array.of(1)), false);
  assert.equal(readCubin(under, key), null);
  assert.equal(existsSync(join(under, 'cubin')), false);

  const folder = join(root, 'folder-in-the-way');
  mkdirSync(file(folder), { recursive: true });
  assert.equal(writeCubin(folder, key, Uint8Array.of(1)), false);
  assert.deepEqual(readdirSync(join(folder, 'cubin')), [`${key}.cubin`], 'the temporary file is gone');
});

test('writers at the same time: a reader sees one of their cubins whole, never a mixture', async () => {
  const folder = join(root, 'crowd');
  const sizes = [1000, 200_000, 50_000];
  const source = `
    const { workerData: { url, folder, key, size, fill } } = require('node:worker_threads');
    import(url).then(({ writeCubin }) => {
      for (let i = 0; i < 30; i++) if (!writeCubin(folder, key, new Uint8Array(size).fill(fill))) throw new Error('not written');
    });`;
  const url = new URL('cache.ts', import.meta.url).href;
  const done = sizes.map(
    (size, fill) =>
      new Promise<number>((resolve, reject) => {
        const worker = new Worker(source, { eval: true, workerData: { url, folder, key, size, fill } });
        worker.once('error', reject).once('exit', resolve);
      }),
  );
  const state = { running: true };
  const all = Promise.all(done).finally(() => (state.running = false));
  let seen = 0;
  while (state.running) {
    const cubin = readCubin(folder, key);
    if (cubin !== null) {
      seen++;
      assert.equal(cubin.length, sizes[cubin[0]!]);
      assert.ok(cubin.every((byte) => byte === cubin[0]));
    } else if (seen > 0) {
      assert.fail('a cubin that was there is gone');
    }
    await new Promise(setImmediate);
  }
  assert.deepEqual(await all, [0, 0, 0]);
  assert.ok(readCubin(folder, key) !== null);
  assert.deepEqual(readdirSync(join(folder, 'cubin')), [`${key}.cubin`]);
});
