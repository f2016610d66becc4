// Products of a warpgroup on the simulator: every shape against float64.
import { testTheme } from './instruction-programs/themes.fixture.ts';

testTheme('wgmma');
