// The kernels of the smoke test on a GPU, as PTX.

/** c[i] = a[i] + b[i]; a kernel that does nothing; one that stores to whatever address it is given. */
export const BASIC: string = `.version 8.0
.target sm_80
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{
  .reg .pred %p;
  .reg .f32 %f<4>;
  .reg .b32 %r<6>;
  .reg .b64 %d<8>;
  ld.param.u64 %d1, [a];
  ld.param.u64 %d2, [b];
  ld.param.u64 %d3, [c];
  ld.param.u32 %r1, [n];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.u32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p, %r5, %r1;
  @%p bra done;
  mul.wide.u32 %d4, %r5, 4;
  add.s64 %d5, %d1, %d4;
  add.s64 %d6, %d2, %d4;
  add.s64 %d7, %d3, %d4;
  ld.global.f32 %f1, [%d5];
  ld.global.f32 %f2, [%d6];
  add.f32 %f3, %f1, %f2;
  st.global.f32 [%d7], %f3;
done:
  ret;
}
.visible .entry empty()
{
  ret;
}
.visible .entry store(.param .u64 address)
{
  .reg .b32 %r;
  .reg .b64 %d;
  ld.param.u64 %d, [address];
  mov.u32 %r, 1;
  st.global.u32 [%d], %r;
  ret;
}
`;

/** For Hopper's own instructions: writes what it sees of its launch; and register reallocation, which relocatable code would lose. */
export const HOPPER: string = `.version 8.0
.target sm_90a
.address_size 64
.visible .entry shape(.param .u64 to)
.maxntid 256, 1, 1
.minnctapersm 1
{
  .reg .pred %p;
  .reg .b32 %r<8>;
  .reg .b64 %d;
  setmaxnreg.inc.sync.aligned.u32 240;
  wgmma.fence.sync.aligned;
  griddepcontrol.wait;
  ld.param.u64 %d, [to];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %tid.x;
  or.b32 %r3, %r1, %r2;
  setp.ne.u32 %p, %r3, 0;
  @%p bra done;
  mov.u32 %r4, %nctaid.x;
  mov.u32 %r5, %ntid.x;
  mov.u32 %r6, %cluster_nctaid.x;
  mov.u32 %r7, %dynamic_smem_size;
  st.global.v4.u32 [%d], {%r4, %r5, %r6, %r7};
done:
  griddepcontrol.launch_dependents;
  ret;
}
`;

/** Copies a box of 512 bytes through a tensor map and stores it as it lies in shared memory. */
export const BOXES: string = `.version 8.0
.target sm_90a
.address_size 64
.visible .entry boxes(.param .u32 row, .param .align 64 .b8 map[128], .param .u32 column, .param .u64 to)
.maxntid 32, 1, 1
{
  .reg .pred %p;
  .reg .b32 %r<10>;
  .reg .b64 %d<4>;
  .shared .align 1024 .b8 box[512];
  .shared .align 8 .b64 barrier;
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, box;
  mov.u32 %r3, barrier;
  setp.ne.u32 %p, %r1, 0;
  @%p bra ready;
  mbarrier.init.shared.b64 [%r3], 1;
  fence.mbarrier_init.release.cluster;
  fence.proxy.async.shared::cta;
  mbarrier.arrive.expect_tx.shared.b64 _, [%r3], 512;
  ld.param.u32 %r4, [row];
  ld.param.u32 %r5, [column];
  mov.b64 %d1, map;
  cvta.param.u64 %d1, %d1;
  cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r2], [%d1, {%r5, %r4}], [%r3];
ready:
  bar.sync 0;
waiting:
  mbarrier.try_wait.parity.shared.b64 %p, [%r3], 0;
  @!%p bra waiting;
  shl.b32 %r6, %r1, 4;
  add.u32 %r2, %r2, %r6;
  ld.shared.v4.u32 {%r6, %r7, %r8, %r9}, [%r2];
  ld.param.u64 %d2, [to];
  mul.wide.u32 %d3, %r1, 16;
  add.s64 %d2, %d2, %d3;
  st.global.v4.u32 [%d2], {%r6, %r7, %r8, %r9};
  ret;
}
`;
