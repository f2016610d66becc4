// Pointers: where they point is part of the type, so that global, shared and another CTA's memory cannot be mixed up. Knows no load or store.
import type { Builder } from './builder.ts';
import { addressAdd } from './isa/lane.ts';
import { elemBytes, type ElemType, type Operand, type TensorType } from './program.ts';
import { Value } from './value.ts';
import { type Int, u32, U32 } from './values.ts';

/** A pointer to elements in global memory. */
export class Global<T extends ElemType> extends Value {
  readonly dtype = 'global' as const;
  readonly elem: T;

  constructor(elem: T, operand: Operand, builder: Builder | null) {
    super(operand, builder);
    this.elem = elem;
  }

  /** The same address, where elements of another type lie. */
  as<E extends ElemType>(elem: E): Global<E> {
    return new Global(elem, this.operand, this.builder);
  }

  /** The element `index` further on. */
  at(index: Int): Global<T> {
    const place = typeof index === 'number' ? u32(index) : index;
    if (place.known === 0) return this;
    const { builder } = this;
    if (builder === null) throw new TypeError('a pointer of no kernel');
    const operands = [this.operand, place.operand, { bits: elemBytes[this.elem] }];
    return new Global(this.elem, builder.value(addressAdd, operands), builder);
  }
}

/** A pointer to elements in shared memory: a byte address in the CTA's window. */
export class Shared<T extends ElemType> extends Value {
  readonly dtype = 'shared' as const;
  readonly elem: T;

  constructor(elem: T, operand: Operand, builder: Builder | null) {
    super(operand, builder);
    this.elem = elem;
  }

  at(index: Int): Shared<T> {
    const { operand, home } = this.address.add(bytesOf(this.elem, index));
    return new Shared(this.elem, operand, home);
  }

  /** The byte address, for layouts of descriptors. */
  get address(): U32 {
    return new U32(this.operand, this.builder);
  }
}

/** A pointer into the shared memory of a CTA of the cluster, one's own or another's. */
export class Remote<T extends ElemType> extends Value {
  readonly dtype = 'remote' as const;
  readonly elem: T;

  constructor(elem: T, operand: Operand, builder: Builder | null) {
    super(operand, builder);
    this.elem = elem;
  }

  at(index: Int): Remote<T> {
    const { operand, home } = new U32(this.operand, this.builder).add(bytesOf(this.elem, index));
    return new Remote(this.elem, operand, home);
  }
}

const MBARRIER_BYTES = 8;

/** mbarriers in shared memory, one after another. */
export class MBarrier extends Value {
  readonly dtype = 'mbarrier' as const;

  at(index: Int): MBarrier {
    const offset = typeof index === 'number' ? u32(index * MBARRIER_BYTES) : index.mul(MBARRIER_BYTES);
    const { operand, home } = new U32(this.operand, this.builder).add(offset);
    return new MBarrier(operand, home);
  }
}

/** An mbarrier of a CTA of the cluster. */
export class RemoteMBarrier extends Value {
  readonly dtype = 'remote mbarrier' as const;
}

function bytesOf(elem: ElemType, index: Int): U32 {
  return typeof index === 'number' ? u32(index * elemBytes[elem]) : index.mul(elemBytes[elem]);
}

/** A matrix to copy boxes of: the address of its tensor map. */
export class Tensor<T extends ElemType> extends Value {
  readonly dtype = 'tensor' as const;
  readonly type: TensorType<T>;

  constructor(type: TensorType<T>, operand: Operand, builder: Builder | null) {
    super(operand, builder);
    this.type = type;
  }
}
