"""How a submission of records depends on those of other datasets: its scopes, and who looks at parents before it."""

from dataclasses import dataclass

from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.closure import scopes_above


@dataclass(frozen=True, slots=True)
class Related:
    """A submission to ``dataset``. by_order: its outcome depends on its place in the order, whatever its parents are.

    Without limits a plain upsert whose parents are there, for certain, needs no more than that none of them goes before
    it has run: it is shared in their scopes. Any other one has its place among what is done to them.
    """

    dataset: Dataset
    by_order: bool

    @property
    def limited(self) -> bool:
        """Whether parents have limits, so that the chunks run in turn and alone."""
        return any(parent.limits for parent in self.dataset.contract.parents)

    @property
    def exclusive(self) -> bool:
        return self.by_order or self.limited

    @property
    def confirmed(self) -> bool:
        """Whether the parents may be confirmed at submission. What a pipeline makes of records is not known then."""
        contract = self.dataset.contract
        return bool(contract.parents) and not self.exclusive and not contract.has_pipeline

    @property
    def checked(self) -> bool:
        """Whether something can be refused before the job is queued."""
        contract = self.dataset.contract
        return bool(contract.parents or self.dataset.hierarchy) and not contract.has_pipeline

    @property
    def streams(self) -> bool:
        """Whether a large body may be staged while it is read, so that nothing of it is looked at before."""
        return not self.exclusive and not self.dataset.contract.parents

    @property
    def ordered(self) -> dict[str, bool]:
        """The further scopes of a job that is not confirmed."""
        return scopes_above(self.dataset.contract)

    @property
    def further(self) -> dict[str, bool]:
        return dict.fromkeys(self.ordered, False) if self.confirmed else self.ordered
