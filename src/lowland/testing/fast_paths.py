"""The laws of capabilities: what is offered as faster or exact says the same as the definition."""

import copy

import torch
from torch import Tensor

from lowland._errors import CapabilityError
from lowland.capabilities import (
    CompletesCodes,
    Curves,
    Decodes,
    DecodesByOperator,
    DecodesLinearly,
    GuessesCodes,
    ParameterSlopes,
    RecentredSlopes,
    Recentres,
    SamplesConditionals,
    SolvesParameters,
    SolvesSoftly,
    Sweeps,
    SweepsSoftly,
)
from lowland.domain import Real
from lowland.infer import infer
from lowland.latent import Continuous, NoLatent, OneHot
from lowland.testing.contract import Case, Law, energy_of, require, same
from lowland.train.architectural.expectation_maximization import soft_sweeper_of
from lowland.train.architectural.sweep import sweeper_of

# How many other codes, or other hidden parts, are tried against the best.
_OTHERS = 20


def closed_parameter_slopes_agree(case: Case) -> None:
    """A gradient in the parameters in closed form is the automatic one."""
    law = closed_parameter_slopes_agree
    if not isinstance(case.energy, ParameterSlopes):
        return
    weights = torch.randn(len(case.y), generator=case.generator, dtype=torch.float64)
    found, weighted = case.energy.parameter_slopes(case.y, x=case.x)
    value = case.energy(case.y, x=case.x)
    same(found, value.detach(), case, law, "the energy")
    parameters = dict(case.energy.named_parameters())
    gradients = torch.autograd.grad(weights @ value, list(parameters.values()))
    for (name, one), gradient in zip(parameters.items(), gradients, strict=True):
        require(one.shape == gradient.shape, case, law, f"'{name}' has another shape")
        same(weighted(weights)[name], gradient, case, law, f"the gradient of '{name}'")
    if case.x is None:
        half = len(case.y) // 2
        found, weighted = case.energy.parameter_slopes(case.y[:half], case.y[half:])
        same(found, value.detach(), case, law, "the energy of two batches")
        for name, gradient in zip(parameters, gradients, strict=True):
            of = f"the gradient of '{name}' from two batches"
            same(weighted(weights)[name], gradient, case, law, of)


def recentred_slopes_agree(case: Case) -> None:
    """To recentre and to take slopes at once is to do the one and then the other."""
    law = recentred_slopes_agree
    energy, apart = copy.deepcopy(case.energy), copy.deepcopy(case.energy)
    if not isinstance(energy, RecentredSlopes):
        return
    if not (isinstance(apart, Recentres) and isinstance(apart, ParameterSlopes)):
        require(False, case, law, "it does not offer Recentres and ParameterSlopes each alone")
        return
    half = len(case.y) // 2
    parts = case.y[:half], case.y[half:]
    weights = torch.randn(len(case.y), generator=case.generator, dtype=torch.float64)
    for known in (False, True):
        given = None
        if known and isinstance(energy, SamplesConditionals):
            given = energy.conditionals()
        apart.recentre(parts[0])
        value, weighted = apart.parameter_slopes(*parts)
        found, together = energy.recentred_slopes(*parts, conditionals=given)
        same(found, value, case, law, "the energy")
        for name, gradient in weighted(weights).items():
            same(together(weights)[name], gradient, case, law, f"the gradient of '{name}'")
        for name, wanted in apart.state_dict().items():
            same(energy.state_dict()[name], wanted, case, law, f"'{name}'")


def curvatures_agree(case: Case) -> None:
    """Slopes and curvatures offered along directions are the automatic ones."""
    law = curvatures_agree
    if not isinstance(case.energy, Curves) or not isinstance(case.energy.latent, NoLatent):
        return
    y = case.y.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(case.energy(y, x=case.x).sum(), y, create_graph=True)
    size = y[0].numel()
    axes = torch.eye(size, dtype=y.dtype).reshape(size, 1, *y.shape[1:]).expand(-1, *y.shape)
    random = torch.randn(2, *y.shape, generator=case.generator, dtype=y.dtype)
    for ways, given, what in ((axes, None, "the axes"), (random, random, "two directions")):
        slopes, curvature = case.energy.curve(case.y, given, x=case.x)
        along = [(gradient * way).flatten(1).sum(1) for way in ways]
        same(slopes, torch.stack(along), case, law, f"the slopes along {what}")
        bends = [torch.autograd.grad(one.sum(), y, retain_graph=True)[0] for one in along]
        pairs = zip(bends, ways, strict=True)
        total = torch.stack([(bend * way).flatten(1).sum(1) for bend, way in pairs]).sum(0)
        same(curvature, total, case, law, f"the curvature along {what}")


def linear_decoders_agree(case: Case) -> None:
    """A decoder offered as a matrix gives the energy and what is decoded."""
    law = linear_decoders_agree
    if not isinstance(case.energy, DecodesLinearly) or case.z is None:
        return
    weight, offset, precision = case.energy.linear_decoder()
    decoded = case.z @ weight.T + offset
    miss = (case.y.flatten(1) - decoded).square().sum(1)
    expected = 0.5 * precision * miss + _regularizer(case)
    same(energy_of(case), expected, case, law, "the energy")
    if isinstance(case.energy, Decodes):
        same(case.energy.decode(case.z).flatten(1), decoded, case, law, "the decoded point")


def linear_operators_agree(case: Case) -> None:
    """A decoder offered as an operator gives the energy; its transpose and curvature are right."""
    law = linear_operators_agree
    if not isinstance(case.energy, DecodesByOperator) or case.z is None:
        return
    operator = case.energy.linear_operator()
    miss = operator.target(case.y) - operator.apply(case.z)
    expected = 0.5 * miss.square().sum(1) + _regularizer(case)
    same(energy_of(case), expected, case, law, "the energy")
    other = torch.randn(miss.shape, generator=case.generator, dtype=miss.dtype)
    forth = (operator.apply(case.z) * other).sum(1)
    back = (case.z * operator.transpose(other)).sum(1)
    same(forth, back, case, law, "the transpose")
    power = operator.apply(case.z)
    for _ in range(50):
        power = operator.apply(operator.transpose(power / power.norm(dim=1, keepdim=True)))
    largest = float(power.norm(dim=1).max())
    detail = f"an eigenvalue of {largest:.6g} exceeds the curvature {operator.curvature:.6g}"
    require(largest <= operator.curvature * (1 + 1e-6), case, law, detail)


def sweeps_agree(case: Case) -> None:
    """A pass over the data finds the codes, the energy and the sums of the definition."""
    law = sweeps_agree
    if not isinstance(case.energy, Sweeps) or not isinstance(case.energy, SolvesParameters):
        return
    fast = sweeper_of(case.energy, case.y, case.x)()
    slow = sweeper_of(case.energy, case.y, case.x, by_definition=True)()
    same(fast.energy, slow.energy, case, law, "the energy")
    for name, value in slow.statistics.items():
        same(fast.statistics[name], value, case, law, f"the sum '{name}'")
    if fast.codes is None or slow.codes is None:
        require(fast.codes is slow.codes, case, law, "only one of them finds codes")
        return
    # Where two codes are as good, either may be found.
    values = [case.energy(case.y, x=case.x, z=z) for z in (fast.codes, slow.codes)]
    same(values[0], values[1], case, law, "the energy of the codes")


def soft_sums_agree(case: Case) -> None:
    """Weighted sums are linear in the weights, and with one-hot weights those of the codes."""
    law = soft_sums_agree
    energy, y, x = case.energy, case.y, case.x
    if not isinstance(energy, SolvesSoftly) or not isinstance(energy.latent, OneHot):
        return
    k = energy.latent.k
    weights = torch.rand(2, len(y), k, generator=case.generator, dtype=torch.float64)
    parts = [energy.soft_statistics(y, each, x=x) for each in (*weights, weights.sum(0))]
    for name, value in parts[2].items():
        same(parts[0][name] + parts[1][name], value, case, law, f"'{name}' of a sum of weights")
    if isinstance(energy, SolvesParameters) and case.z is not None:
        hard = torch.nn.functional.one_hot(case.z, k).double()
        softly = energy.soft_statistics(y, hard, x=x)
        for name, value in energy.statistics(y, case.z, x=x).items():
            same(softly[name], value, case, law, f"'{name}' of one-hot weights")


def soft_sweeps_agree(case: Case) -> None:
    """A pass with responsibilities finds the free energy and the sums of the definition."""
    law = soft_sweeps_agree
    if not isinstance(case.energy, SweepsSoftly) or not isinstance(case.energy, SolvesSoftly):
        return
    fast = soft_sweeper_of(case.energy, case.y, case.x)()
    slow = soft_sweeper_of(case.energy, case.y, case.x, by_definition=True)()
    same(fast.free_energy, slow.free_energy, case, law, "the free energy")
    same(fast.energy, slow.energy, case, law, "the energy")
    same(fast.counts, slow.counts, case, law, "the counts")
    for name, value in slow.statistics.items():
        same(fast.statistics[name], value, case, law, f"the sum '{name}'")


def completions_of_codes_are_best(case: Case) -> None:
    """A code's completion keeps what is observed, and no other hidden part has less energy."""
    law = completions_of_codes_are_best
    energy, y, x = case.energy, case.y, case.x
    if not isinstance(energy, CompletesCodes) or case.z is None:
        return
    observed = torch.rand(y.shape, generator=case.generator) < 0.5
    blanked = torch.where(observed, y, torch.nan) if isinstance(energy.domain, Real) else y
    filled = energy.complete_codes(blanked, observed, case.z, x=x)
    require(torch.equal(filled[observed], y[observed]), case, law, "what was observed changed")
    least = energy(filled, x=x, z=case.z)
    for _ in range(_OTHERS if isinstance(energy.domain, Real) else 0):
        step = 0.1 * torch.randn(y.shape, generator=case.generator, dtype=y.dtype)
        other = energy(torch.where(observed, y, filled + step), x=x, z=case.z)
        slack = 1e-9 * (1 + least.abs())
        require(bool((least <= other + slack).all()), case, law, "another hidden part is lower")


def searches_are_certified(case: Case) -> None:
    """No other code has less energy than inference found, by more than its certificate allows."""
    law = searches_are_certified
    if not isinstance(case.energy.latent, Continuous) or case.z is None:
        return
    found = infer(case.energy, case.y, x=case.x)
    require(bool(found.converged.all()), case, law, "inference did not converge")
    if found.z is None:
        raise CapabilityError(f"{type(case.energy).__name__} has no latent variable.")
    case.energy.latent.check(found.z, (len(case.y),))
    slack = 1e-6 * (1 + found.energy.abs())
    for i in range(_OTHERS):
        near = found.z + 10.0 ** (-i / 4) * torch.randn(
            found.z.shape, generator=case.generator, dtype=found.z.dtype
        )
        other = case.energy.latent.proximal(near, torch.zeros_like(near[:, 0]))
        value = case.energy(case.y, x=case.x, z=other)
        require(bool((found.energy <= value + slack).all()), case, law, "another code is lower")


def guesses_are_codes(case: Case) -> None:
    """A guess at the best code lies where codes may lie."""
    law = guesses_are_codes
    if not isinstance(case.energy, GuessesCodes):
        return
    guess = case.energy.guess_codes(case.y, x=case.x)
    case.energy.latent.check(guess, (len(case.y),))
    value = case.energy(case.y, x=case.x, z=guess)
    best = infer(case.energy, case.y, x=case.x).energy
    slack = 1e-6 * (1 + best.abs())
    require(bool((best <= value + slack).all()), case, law, "the guess is below the minimum")


def _regularizer(case: Case) -> Tensor | float:
    latent = case.energy.latent
    return (
        latent.regularizer(case.z) if isinstance(latent, Continuous) and case.z is not None else 0.0
    )


FAST_PATHS: tuple[Law, ...] = (
    closed_parameter_slopes_agree,
    recentred_slopes_agree,
    curvatures_agree,
    linear_decoders_agree,
    linear_operators_agree,
    sweeps_agree,
    soft_sums_agree,
    soft_sweeps_agree,
    completions_of_codes_are_best,
    searches_are_certified,
    guesses_are_codes,
)
