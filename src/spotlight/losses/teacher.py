"""Distillation from a teacher that sees everything to a student of whom blocks are hidden."""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    hidden: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.1,
) -> Tensor:
    """Kullback-Leibler divergence of the student's channels from the teacher's, mean over hidden voxels.

    ::

        p = softmax over channels of (features / |features| / temperature);    Σ p_teacher log(p_teacher / p_student)

    as the light-sheet model of Scheinfeld et al. (arXiv:2605.26026) has it, after iBOT (Zhou et al. 2022).

    Parameters
    ----------
    student, teacher : (B, C, [Z,] Y, X) Tensor
        Features of every voxel. Nothing is learnt through the teacher's.
    hidden : (B, 1, [Z,] Y, X) bool Tensor
        Where it counts.
    student_temperature, teacher_temperature : float
        Lower ones sharpen.

    Returns
    -------
    Tensor
        A scalar, at least 0; 0 where nothing is hidden.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import distillation_loss
    >>> one, other = torch.tensor([[[[1.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[1.0]]]])
    >>> round(float(distillation_loss(other, one, torch.ones(1, 1, 1, 1), 1.0, 1.0)), 3)  # (e - 1) / (e + 1)
    0.462
    """
    with torch.autocast(student.device.type, enabled=False):
        own = log_softmax(normalize(student.float(), dim=1) / student_temperature, dim=1)
        wanted = log_softmax(normalize(teacher.detach().float(), dim=1) / teacher_temperature, dim=1)
        each = (wanted.exp() * (wanted - own)).sum(1, keepdim=True)
        return (each * hidden).sum() / hidden.sum().clamp(min=1)
