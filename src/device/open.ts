// Opens a device by name.
import type { Device } from './device.ts';
import { openNvidia } from './nvidia.ts';
import { SimulatedDevice } from './simulated.ts';

/** 'simulator', or 'nvidia' for the first GPU, 'nvidia:1' for the second. Errors: those of `openNvidia`. */
export async function openDevice(name: 'simulator' | 'nvidia' | `nvidia:${number}`): Promise<Device> {
  return name === 'simulator' ? new SimulatedDevice() : await openNvidia(Number(name.split(':')[1] ?? 0));
}
