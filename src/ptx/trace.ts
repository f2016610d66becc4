// `k`, what a kernel function is given: everything with an effect. Its parts are in trace/, from control flow up to tensor cores.
import { Matrices } from './trace/matrices.ts';

export class K extends Matrices {}
