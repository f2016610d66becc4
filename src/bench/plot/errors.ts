// What quantizing cost each linear, layer by layer, as a figure. Knows no quantizer.
import { lineChart, type Series } from './chart.ts';
import { linear, linearTicks } from './svg.ts';

interface LinearError {
  /** 'model.layers.3.mlp.up_proj', or its weight's name. */
  readonly name: string;
  readonly relativeError: number;
}

/** One line a kind of linear. `of`: what errors are relative to. */
export function errorChart(tensors: readonly LinearError[], of: 'weights' | 'outputs'): string {
  const layerOf = ({ name }: LinearError): number => Number(/layers\.(\d+)\./.exec(name)?.[1] ?? 0);
  const kindOf = ({ name }: LinearError): string => name.replace(/^.*layers\.\d+\.\w+\./, '').replace(/\.weight$/, '');
  const series = [...Map.groupBy(tensors, kindOf)].map(([name, all], colour): Series => ({
    name,
    colour,
    style: 'plain',
    points: all.map((one) => [layerOf(one), 100 * one.relativeError] as const),
  }));
  const last = Math.max(1, ...tensors.map(layerOf));
  const most = 1.05 * Math.max(0.01, ...tensors.map(({ relativeError }) => 100 * relativeError));
  return lineChart({
    title: `Relative error of ${of === 'weights' ? 'weights' : 'what linears give'}, %`,
    notes: [],
    x: { label: 'layer', scale: (pixels) => linear([0, last], pixels, linearTicks(last)) },
    y: { label: '%', scale: (pixels) => linear([0, most], pixels, linearTicks(most)) },
    series,
  });
}
