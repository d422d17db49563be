"""Run by a Python with OpenSim: python opensim_reader.py FILE.trc OUTPUT.npz"""

import sys

import numpy as np
import opensim

table = opensim.TimeSeriesTableVec3(sys.argv[1])
columns = {"time": np.array(table.getIndependentColumn())}
for name in table.getColumnLabels():
    column = table.getDependentColumn(name)
    columns[name] = np.array([[column[row][axis] for axis in range(3)] for row in range(column.size())])
np.savez(sys.argv[2], **columns)
