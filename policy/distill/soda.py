"""SODA: learn from a teacher's log alone, by preferring its actions over a snapshot of the student's own.

Source: Chen et al., "SODA: Semi On-Policy Black-Box Distillation for Large Language Models", arXiv 2604.03873; the
loss is DPO's, Rafailov et al., NeurIPS 2023, arXiv 2305.18290, equation 7. At each state of the teacher's rollouts a⁺
is the teacher's action and a⁻ what the student did there before it learnt anything; π_w, the student after a supervised
warm-up on a⁺, is the reference.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import softplus

from sim.errors import LunarError


def dpo(
    preferred: Tensor, rejected: Tensor, reference_preferred: Tensor, reference_rejected: Tensor, beta: float
) -> Tensor:
    """(P,) −ln σ(β[ln π(a⁺)/π_w(a⁺) − ln π(a⁻)/π_w(a⁻)]), to be averaged with ``losses.average``.

    ln 2 where the student is its reference. The gradient shrinks as the preference is learnt, which holds the student
    near π_w.

    Args:
        preferred, rejected: (P,) ln π(a⁺) and ln π(a⁻) of the student, as ``Output.log_prob`` gives them (of tokens,
            summed over the joints of a step); the gradient flows.
        reference_preferred, reference_rejected: (P,) the same of π_w, taken as constant.
        beta: above 0, how far from π_w the student may go: less is further.
    """
    if not (beta > 0 and math.isfinite(beta)):
        raise LunarError(f"beta is {beta}; it must be a number above 0")
    margin = (preferred - reference_preferred.detach()) - (rejected - reference_rejected.detach())
    return softplus(-beta * margin)
