// The part of `k` where lanes of a warp tell each other values: shuffles, votes, reductions. All 32 must take part.
import * as warp from '../isa/warp.ts';
import { moved } from '../value.ts';
import { B32, type F32, type Int, Pred, type S32, type U32 } from '../values.ts';
import { operandOf } from './base.ts';
import { Barriers } from './barriers.ts';

type Word = U32 | S32 | B32 | F32;

export class Lanes extends Barriers {
  /** The value of lane ^ mask. */
  shflBfly<V extends Word>(value: V, mask: Int): V {
    return this.shuffled(value, 'bfly', mask);
  }
  /** The value of lane `source`. */
  shflIdx<V extends Word>(value: V, source: Int): V {
    return this.shuffled(value, 'idx', source);
  }
  /** The value of lane - by; the first lanes keep their own. */
  shflUp<V extends Word>(value: V, by: Int): V {
    return this.shuffled(value, 'up', by);
  }
  /** The value of lane + by; the last lanes keep their own. */
  shflDown<V extends Word>(value: V, by: Int): V {
    return this.shuffled(value, 'down', by);
  }
  private shuffled<V extends Word>(value: V, mode: warp.ShuffleMode, by: Int): V {
    const bits = value.dtype === 'f32' ? value.asB32().operand : value.operand;
    const word = new B32(this.result(warp.shuffle[mode], [bits, operandOf(by)]), this.builder);
    return moved(value, value.dtype === 'f32' ? word.asF32().operand : word.operand, this.builder);
  }

  /** Whether p holds in all lanes. */
  voteAll(p: Pred): Pred {
    return new Pred(this.result(warp.vote('all'), [p.operand]), this.builder);
  }
  voteAny(p: Pred): Pred {
    return new Pred(this.result(warp.vote('any'), [p.operand]), this.builder);
  }
  /** Whether p is the same in all lanes. */
  voteUni(p: Pred): Pred {
    return new Pred(this.result(warp.vote('uni'), [p.operand]), this.builder);
  }
  /** The lanes in which p holds, as a mask. */
  voteBallot(p: Pred): B32 {
    return new B32(this.result(warp.vote('ballot'), [p.operand]), this.builder);
  }

  /** One value of all lanes'. */
  reduxAdd(value: U32): U32 {
    return this.reduced(value, 'add');
  }
  reduxMin<V extends U32 | S32>(value: V): V {
    return this.reduced(value, 'min');
  }
  reduxMax<V extends U32 | S32>(value: V): V {
    return this.reduced(value, 'max');
  }
  reduxAnd(value: B32): B32 {
    return this.reduced(value, 'and');
  }
  reduxOr(value: B32): B32 {
    return this.reduced(value, 'or');
  }
  reduxXor(value: B32): B32 {
    return this.reduced(value, 'xor');
  }
  private reduced<V extends U32 | S32 | B32>(value: V, f: warp.ReduceFunction): V {
    return moved(value, this.result(warp.reduce(f, value.dtype), [value.operand]), this.builder);
  }
}
