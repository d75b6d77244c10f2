"""The laws that every energy obeys, one function each; its docstring is what the law says."""

import copy
import math
import tempfile

import torch

from lowland._errors import CapabilityError, CheckpointError, ShapeError
from lowland.ask import complete, encode, project, sample, score
from lowland.capabilities import (
    Decodes,
    DecodesLinearly,
    Embeds,
    Encodes,
    Fills,
    Reconstructs,
    SamplesGibbs,
    Slopes,
    SolvesCodes,
    SolvesParameters,
    TabulatesCodes,
)
from lowland.checkpoint import load, save
from lowland.domain import Real
from lowland.infer import free_energy, infer
from lowland.latent import Continuous, Grid, NoLatent, OneHot
from lowland.sample import Langevin
from lowland.testing.contract import Case, Law, energy_of, require, same

# Draws for the one law that is statistical, fewer where each needs an integral over z, and how many
# standard errors it may be off.
_DRAWS = 20_000
_DRAWS_TO_INTEGRATE = 2_000
_SIGMAS = 6.0


def returns_one_scalar_per_item(case: Case) -> None:
    """It returns one finite scalar per item, whatever the batch shape."""
    law = returns_one_scalar_per_item
    value = energy_of(case)
    require(bool(torch.isfinite(value).all()), case, law, f"got {value.tolist()}")
    n = len(case.y) // 2 * 2
    x = None if case.x is None else case.x[:n].unflatten(0, (2, n // 2))
    z = None if case.z is None else case.z[:n].unflatten(0, (2, n // 2))
    two = case.energy(case.y[:n].unflatten(0, (2, n // 2)), x=x, z=z)
    same(two.flatten(), value[:n], case, law, "a batch with two axes")
    one = case.energy(
        case.y[0],
        x=None if case.x is None else case.x[0],
        z=None if case.z is None else case.z[0],
    )
    same(one, value[0], case, law, "a batch without axes")


def items_are_independent(case: Case) -> None:
    """An item's energy does not depend on the other items of the batch."""
    law = items_are_independent
    value = energy_of(case)
    order = torch.arange(len(case.y) - 1, -1, -1)
    x = None if case.x is None else case.x[order]
    z = None if case.z is None else case.z[order]
    same(case.energy(case.y[order], x=x, z=z), value[order], case, law, "in another order")


def is_a_function(case: Case) -> None:
    """The same input gives the same energy, and is not changed."""
    law = is_a_function
    before = case.y.clone()
    first, second = energy_of(case), energy_of(case)
    require(torch.equal(first, second), case, law, "two calls differ")
    require(torch.equal(before, case.y), case, law, "y was changed in place")


def refuses_another_event(case: Case) -> None:
    """A y of another event shape is refused, not broadcast."""
    law = refuses_another_event
    wrong = torch.cat([case.y, case.y[..., :1]], -1)
    try:
        case.energy(wrong, x=case.x, z=case.z)
    except ShapeError:
        return
    require(False, case, law, f"y of shape {tuple(wrong.shape)} was taken")


def says_whether_it_has_a_latent(case: Case) -> None:
    """With a latent it needs z, without one it refuses z."""
    law = says_whether_it_has_a_latent
    absent = isinstance(case.energy.latent, NoLatent)
    z = torch.zeros(len(case.y), dtype=torch.int64) if absent else None
    try:
        case.energy(case.y, x=case.x, z=z)
    except (CapabilityError, ShapeError):
        return
    require(False, case, law, "z was taken" if absent else "a missing z was taken")


def gradients_are_slopes(case: Case) -> None:
    """The gradient of the free energy in y equals its finite differences."""
    law = gradients_are_slopes
    if not isinstance(case.energy.domain, Real):
        return
    # Summed exactly at a finite beta only where z is finite; elsewhere the best z is the test.
    searched = isinstance(case.energy.latent, Continuous) and not isinstance(
        case.energy.latent, Grid
    )
    step = 1e-5 if searched else 1e-6
    direction = torch.randn(case.y.shape, generator=case.generator, dtype=torch.float64)
    for beta in (math.inf,) if searched else (math.inf, 1.0):
        y = case.y.clone().requires_grad_()
        value = free_energy(case.energy, y, x=case.x, beta=beta)
        (gradient,) = torch.autograd.grad(value.sum(), y)
        slope = (gradient * direction).flatten(1).sum(1)
        ahead = free_energy(case.energy, case.y + step * direction, x=case.x, beta=beta)
        behind = free_energy(case.energy, case.y - step * direction, x=case.x, beta=beta)
        numeric = (ahead - behind) / (2 * step)
        same(numeric.detach(), slope, case, law, f"at beta {beta}", 1e-5)


def closed_slopes_agree(case: Case) -> None:
    """A slope in closed form is the energy and its automatic derivative."""
    law = closed_slopes_agree
    if not isinstance(case.energy, Slopes) or not isinstance(case.energy.latent, NoLatent):
        return
    found, slope = case.energy.slope(case.y, x=case.x)
    y = case.y.clone().requires_grad_()
    value = case.energy(y, x=case.x)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    same(found, value, case, law, "the energy")
    same(slope, gradient, case, law, "the gradient")
    alone = getattr(case.energy, "gradient", None)
    if alone is not None:
        same(alone(case.y, x=case.x), gradient, case, law, "the gradient alone")
    kicker = getattr(case.energy, "kicker", None)
    if kicker is not None:
        push = torch.rand(case.y.shape[1:], generator=case.generator, dtype=case.y.dtype)
        velocity = torch.ones_like(case.y)
        with torch.inference_mode():
            kicker(push, x=case.x)(velocity, case.y)
        same(velocity, 1 - push * gradient, case, law, "the kick")


def tables_agree(case: Case) -> None:
    """The table holds the energy of every code, and its slopes."""
    law = tables_agree
    if not isinstance(case.energy, TabulatesCodes) or not isinstance(case.energy.latent, OneHot):
        return
    y = case.y.clone().requires_grad_(case.y.is_floating_point())
    table = case.energy.tabulate(y, x=case.x)
    for code in range(min(case.energy.latent.k, 32)):
        z = torch.full((len(y),), code)
        value = case.energy(y, x=case.x, z=z)
        same(table[:, code].detach(), value.detach(), case, law, f"code {code}")
        if y.requires_grad and value.requires_grad:
            (a,) = torch.autograd.grad(table[:, code].sum(), y, retain_graph=True)
            (b,) = torch.autograd.grad(value.sum(), y, retain_graph=True)
            same(a, b, case, law, f"the slope at code {code}", 1e-6)


def codes_are_best(case: Case) -> None:
    """Inference finds the least energy over all codes."""
    law = codes_are_best
    if not isinstance(case.energy.latent, OneHot):
        return
    k = case.energy.latent.k
    every = [case.energy(case.y, x=case.x, z=torch.full((len(case.y),), code)) for code in range(k)]
    least = torch.stack(every).amin(0).detach()
    found = infer(case.energy, case.y, x=case.x)
    same(found.energy, least, case, law, "the energy found")
    if isinstance(case.energy, SolvesCodes):
        z = case.energy.solve_codes(case.y, x=case.x)
        case.energy.latent.check(z, (len(case.y),))


def free_energy_is_bounded(case: Case) -> None:
    """F_inf ≤ F_beta ≤ F_inf + log(k) / beta, falling in beta, from the mean at beta = 0."""
    law = free_energy_is_bounded
    if not isinstance(case.energy.latent, OneHot):
        return
    k = case.energy.latent.k
    low = free_energy(case.energy, case.y, x=case.x).detach()
    slack = 1e-8 * (1 + low.abs())
    last = free_energy(case.energy, case.y, x=case.x, beta=0.0).detach()
    for beta in (1e-3, 0.1, 1.0, 10.0, 1e3):
        value = free_energy(case.energy, case.y, x=case.x, beta=beta).detach()
        require(bool((value >= low - slack).all()), case, law, f"F_{beta} < F_inf")
        bound = low + math.log(k) / beta + slack
        require(bool((value <= bound).all()), case, law, f"F_{beta} > F_inf + log(k)/{beta}")
        require(bool((value <= last + slack).all()), case, law, f"F rises at beta {beta}")
        total = free_energy(case.energy, case.y, x=case.x, beta=beta, measure="sum").detach()
        same(total, value - math.log(k) / beta, case, law, "measure 'sum'")
        last = value


def decodes_the_best_point(case: Case) -> None:
    """A decoded z is shaped like y, and no y has a lower energy with that z."""
    law = decodes_the_best_point
    if not isinstance(case.energy, Decodes) or case.z is None:
        return
    decoded = case.energy.decode(case.z, x=case.x)
    require(decoded.shape == case.y.shape, case, law, f"got shape {tuple(decoded.shape)}")
    best = case.energy(decoded, x=case.x, z=case.z)
    slack = 1e-9 * (1 + best.abs())
    require(bool((best <= energy_of(case) + slack).all()), case, law, "another y is lower")


def encodes_each_item(case: Case) -> None:
    """There are features for each item, (*batch, features)."""
    law = encodes_each_item
    if not isinstance(case.energy, Encodes):
        return
    code = case.energy.encode(case.y, x=case.x)
    require(code.dim() == 2 and len(code) == len(case.y), case, law, f"got {tuple(code.shape)}")


def reconstructs_each_item(case: Case) -> None:
    """A reconstruction has the shape of y."""
    law = reconstructs_each_item
    if not isinstance(case.energy, Reconstructs):
        return
    rebuilt = case.energy.reconstruct(case.y, x=case.x)
    require(rebuilt.shape == case.y.shape, case, law, f"got {tuple(rebuilt.shape)}")


def fills_with_the_best(case: Case) -> None:
    """Filling keeps what is observed, and no other filling near an answer has a lower energy."""
    law = fills_with_the_best
    energy, y = case.energy, case.y
    if not isinstance(energy, Fills) or not isinstance(energy.domain, Real):
        return
    observed = torch.rand(y.shape, generator=case.generator, dtype=torch.float64) < 0.5
    visible = observed if case.x is None or case.x.dtype != torch.bool else observed & case.x
    found = energy.fill(y, observed, x=case.x, generator=case.generator)
    blank = energy.fill(torch.where(observed, y, torch.zeros_like(y)), observed, x=case.x)
    require(torch.equal(found.y, blank.y), case, law, "what is hidden was looked at")
    for i in range(found.y.shape[1]):
        answer = found.y[:, i]
        require(torch.equal(answer[observed], y[observed]), case, law, "what was given changed")
        value = energy(answer, x=visible)
        same(found.energy[:, i], value, case, law, "the energy of an answer")
        noise = torch.randn(y.shape, generator=case.generator, dtype=torch.float64)
        for size in (1e-3, 1e-1):
            near = torch.where(observed, answer, answer + size * noise)
            require(bool((energy(near, x=visible) >= value - 1e-9).all()), case, law, "it is lower")


def embeddings_are_compared(case: Case) -> None:
    """E(x, y) compares the embeddings of x and y."""
    law = embeddings_are_compared
    if not isinstance(case.energy, Embeds) or case.x is None:
        return
    compared = case.energy.compare(case.energy.embed(case.x), case.energy.embed(case.y))
    same(compared, case.energy(case.y, x=case.x), case, law, "the energy")


def statistics_are_sums(case: Case) -> None:
    """The statistics add over items, and solving for the parameters does not raise the energy."""
    law = statistics_are_sums
    if not isinstance(case.energy, SolvesParameters):
        return
    energy, y, x, z = case.energy, case.y, case.x, case.z
    whole = energy.statistics(y, z, x=x)
    half = len(y) // 2
    parts = [
        energy.statistics(y[s], None if z is None else z[s], x=None if x is None else x[s])
        for s in (slice(half), slice(half, None))
    ]
    for name, value in whole.items():
        same(parts[0][name] + parts[1][name], value, case, law, f"'{name}' of two halves")
    before = energy(y, x=x, z=z).mean()
    energy.solve_parameters(whole)
    after = energy(y, x=x, z=z).mean()
    require(
        bool(after <= before + 1e-9 * (1 + before.abs())), case, law, f"{before} rose to {after}"
    )


def exact_draws_are_at_equilibrium(case: Case) -> None:
    """Exact draws obey the virial identity E[(y − ȳ) · ∇F] = d / beta."""
    law = exact_draws_are_at_equilibrium
    if not isinstance(case.energy, SamplesGibbs) or case.x is not None:
        return
    beta = 2.0
    integrated = isinstance(case.energy.latent, Continuous) and not isinstance(
        case.energy, DecodesLinearly
    )
    n = _DRAWS_TO_INTEGRATE if integrated else _DRAWS
    seed = case.generator.get_state()
    y = case.energy.sample_gibbs(n, beta=beta, generator=case.generator).detach()
    case.generator.set_state(seed)
    again = case.energy.sample_gibbs(n, beta=beta, generator=case.generator).detach()
    require(torch.equal(y, again), case, law, "one seed gave two sets of draws")
    require(tuple(y.shape) == (n, *case.energy.event), case, law, f"shape {tuple(y.shape)}")
    if not isinstance(case.energy.domain, Real):
        return
    value = free_energy(case.energy, y.requires_grad_(), beta=beta, measure="sum")
    (gradient,) = torch.autograd.grad(value.sum(), y)
    virial = beta * ((y - y.mean(0)) * gradient).flatten(1).sum(1).detach()
    error = float((virial.mean() - y[0].numel()).abs())
    allowed = _SIGMAS * float(virial.std()) / math.sqrt(n)
    require(error <= allowed, case, law, f"off by {error:.3g}, allowed {allowed:.3g}")


def survives_the_disk(case: Case) -> None:
    """Saved and loaded it gives the same scores, to the bit."""
    law = survives_the_disk
    before = score(case.energy, case.y, x=case.x)
    with tempfile.TemporaryDirectory() as folder:
        save(case.energy, folder)
        try:
            loaded = load(folder)
        except CheckpointError as error:
            if "into=" not in str(error):  # a module whose code only its owner has
                raise
            loaded = load(folder, into=copy.deepcopy(case.energy))
    require(torch.equal(before, score(loaded, case.y, x=case.x)), case, law, "the scores differ")


def answers_every_question(case: Case) -> None:
    """score, encode, project, complete and sample answer with finite numbers of the right shape."""
    law = answers_every_question
    energy, y, x = case.energy, case.y, case.x
    n = len(y)
    require(tuple(score(energy, y, x=x).shape) == (n,), case, law, "score")
    if not isinstance(energy.domain, Real):
        return
    require(encode(energy, y, x=x).shape[0] == n, case, law, "encode")
    require(project(energy, y, x=x, steps=20).shape == y.shape, case, law, "project")
    observed = torch.zeros(energy.event, dtype=torch.bool)
    if observed.numel() > 1:
        observed.view(-1)[0] = True
    answers = complete(energy, y, observed=observed, n=2, x=x, steps=20, generator=case.generator)
    require(tuple(answers.y.shape) == (n, 2, *energy.event), case, law, "complete")
    require(bool((answers.count >= 1).all()), case, law, "complete found no answer")
    given = answers.y[:, 0][:, observed]
    require(torch.equal(given, y[:, observed]), case, law, "complete changed what was observed")
    draws = sample(energy, y, sampler=Langevin(1e-4), steps=3, x=x, generator=case.generator)
    require(tuple(draws.y.shape) == (n, 3, *energy.event), case, law, "sample")


LAWS: tuple[Law, ...] = (
    is_a_function,
    returns_one_scalar_per_item,
    items_are_independent,
    refuses_another_event,
    says_whether_it_has_a_latent,
    gradients_are_slopes,
    closed_slopes_agree,
    tables_agree,
    codes_are_best,
    free_energy_is_bounded,
    decodes_the_best_point,
    encodes_each_item,
    reconstructs_each_item,
    fills_with_the_best,
    embeddings_are_compared,
    statistics_are_sums,
    exact_draws_are_at_equilibrium,
    survives_the_disk,
    answers_every_question,
)
