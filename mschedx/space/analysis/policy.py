"""How thoroughly a design space is analysed: its numbers and switches in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPolicy:
    """Parameters of `analyse`.

    Parameters
    ----------
    seed : int
        Of the configs that are drawn. The result does not depend on it where it is exact.
    few : int
        Replays, besides corners and one per open factor, that are enough where every expression is
        then the only one that agrees with them; more where it takes more to see every loop run.
        Twice as many extreme ones are added where tiles are not aligned to the quotients of
        accesses. 0 goes for ``many`` at once.
    many : int
        Random replays a design is fitted and checked on otherwise, besides its corners; at least
        two per decision are made.
    unseen : int
        Configs of either kind, random and extreme, on which expressions that agree are compared.
    rounds, asked : int
        How often replays are asked which of two expressions is right, and for parts of loops that
        run in too few of them; and how many at a time.
    held_out : int
        One in so many of the later replays (corners come first) is checked instead of fitted.
    pause_collector : bool
        Hold off Python's cyclic garbage collector, whose full passes cost an analysis a seventh:
        it makes millions of small objects that live until its end and hardly any cycles.
    """

    seed: int = 0
    few: int = 12
    many: int = 64
    unseen: int = 512
    rounds: int = 3
    asked: int = 48
    held_out: int = 3
    pause_collector: bool = True

    def __post_init__(self) -> None:
        for name, least in (("few", 0), ("many", 1), ("unseen", 1), ("rounds", 0), ("asked", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"expected AnalysisPolicy.{name} >= {least}, got {getattr(self, name)}"
                )
        if self.held_out < 2:
            raise ValueError(f"expected AnalysisPolicy.held_out >= 2, got {self.held_out}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrutiny:
    """How an expression that agrees with all replays is doubted.

    Parameters
    ----------
    every : bool
        Compare every expression with its rivals, because the replays are few; otherwise only those
        of accesses with quotients.
    drop : bool
        Leave out expressions that differ from a rival, instead of only noting where they do.
    """

    every: bool = False
    drop: bool = False
