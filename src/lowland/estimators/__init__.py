"""Scikit-learn's interfaces to energies, and probes of what they learned without labels.

| file | what it is |
|---|---|
| `detector.py` | `EnergyDetector`: outliers at a rate of false alarms that is kept |
| `transformer.py` | `EnergyTransformer`: features in a pipeline |
| `probe.py` | `probe` and `label_efficiency`: the tables |
| `heads.py` | `LinearProbe`, `NeighbourProbe`: what learns on fixed features |
| `fine_tuning.py` | `FineTuning`: the encoder learns from the labels too |
| `controls.py` | the rows that every table holds: raw input, PCA, random encoder |
| `restart.py` | `restarted`: the same architecture with weights that have learned nothing |
| `features.py` | features of items, and units in which they compare |
| `table.py` | `ProbeTable`: what is printed and drawn |
"""

from lowland.estimators.detector import EnergyDetector
from lowland.estimators.fine_tuning import FineTuning
from lowland.estimators.heads import Head, LinearProbe, NeighbourProbe
from lowland.estimators.probe import label_efficiency, probe
from lowland.estimators.restart import restarted
from lowland.estimators.table import ProbeRow, ProbeTable
from lowland.estimators.transformer import EnergyTransformer

__all__ = [
    "EnergyDetector",
    "EnergyTransformer",
    "FineTuning",
    "Head",
    "LinearProbe",
    "NeighbourProbe",
    "ProbeRow",
    "ProbeTable",
    "label_efficiency",
    "probe",
    "restarted",
]
