// Shared-memory banks as the simulator counts them; the formulas are the layouts' too (ptx/banks.ts).
export { conflictWays, lanesPerPhase } from '../ptx/banks.ts';
