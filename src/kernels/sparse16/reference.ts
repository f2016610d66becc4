// What the 2:4 sparse product means: the dense product of the matrix with its zeros in place. Knows nothing of the packed form.
export { dense16Reference as sparse16Reference } from '../dense16/reference.ts';
