// Every kernel of the repository, by name: what `marlin kernel` lists, and what is assembled and simulated as a whole.
import { activationEntry } from './activation/entry.ts';
import { attentionDecodeEntry, attentionPrefillEntry } from './attention/entry.ts';
import { dense16Entry } from './dense16/entry.ts';
import { linearStreamedEntry, linearTiledEntry } from './dense16/linear-entry.ts';
import { dense16WgmmaEntry } from './dense16/wgmma-entry.ts';
import { embeddingEntry } from './embedding/entry.ts';
import type { Entry } from './entry.ts';
import { gramEntry } from './gram/entry.ts';
import { normEntry } from './norm/entry.ts';
import { ropeEntry } from './rope/entry.ts';
import { samplingEntry } from './sampling/entry.ts';
import { marlinAmpereEntry } from './marlin/ampere/entry.ts';
import { marlinStepsEntry } from './marlin/levels/entry.ts';
import { streamEntry } from './marlin/stream/entry.ts';
import { marlinTileEntry } from './marlin/tile/entry.ts';
import { marlinSimpleEntry } from './marlin/simple-entry.ts';
import { readBulkEntry, readEntry } from './read/entry.ts';
import { sparse16Entry } from './sparse16/entry.ts';
import { vectorAddEntry } from './vector-add/entry.ts';

export const catalogue: readonly Entry[] = [
  vectorAddEntry,
  dense16Entry,
  dense16WgmmaEntry,
  linearTiledEntry,
  linearStreamedEntry,
  embeddingEntry,
  normEntry,
  ropeEntry,
  attentionDecodeEntry,
  attentionPrefillEntry,
  activationEntry,
  samplingEntry,
  gramEntry,
  sparse16Entry,
  marlinSimpleEntry,
  streamEntry,
  marlinStepsEntry,
  marlinAmpereEntry,
  marlinTileEntry,
  readEntry,
  readBulkEntry,
];
