"""The contract as functions: `check_energy` runs every law on anyone's class."""

from lowland.testing.contract import Case, ContractError
from lowland.testing.energies import check_energy

__all__ = ["Case", "ContractError", "check_energy"]
