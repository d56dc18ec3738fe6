"""What the licence of pretrained weights forbids, in a line. Reads timm's list of weights; writes nothing."""

import timm

from foldline.core.own_code import is_own
from foldline.models.backbone import require_known

# Licences that allow commercial use; some ask to be named (cc-by), which a submission need not do.
PERMISSIVE = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0"}
# Licences whose short name does not say that they forbid it.
RESEARCH_ONLY = {"apple-amlr", "seer-license", "fair-noncommercial-research-license"}


def weights_licence(name: str) -> str:
    """The licence of a timm network's pretrained weights in timm's word; empty for networks that have none.

    >>> weights_licence("convnextv2_atto.fcmae"), weights_licence("cifar_cnn")
    ('cc-by-nc-4.0', '')
    """
    config = None if is_own(name) else timm.get_pretrained_cfg(name)
    return "" if config is None or not config.has_weights else str(config.license or "unknown").lower()


def licence_note(name: str) -> str:
    """One line on the licence of a timm network's pretrained weights; empty where it allows commercial use.

    Empty as well for networks without pretrained weights. timm's word is taken for it: a competition's rules and
    the weights' own page are what counts.

    >>> licence_note("convnextv2_atto.fcmae")
    'the weights of convnextv2_atto.fcmae are cc-by-nc-4.0: not for commercial use'
    >>> licence_note("resnet18")
    ''

    Raises:
        FoldlineError: timm has no such network.
    """
    require_known(name)
    licence = weights_licence(name)
    if not licence or licence in PERMISSIVE:
        return ""
    if licence == "unknown":
        return f"the licence of the weights of {name} is unknown: ask their authors before commercial use"
    if "-nc" in licence or licence in RESEARCH_ONLY:
        return f"the weights of {name} are {licence}: not for commercial use"
    return f"the weights of {name} have a licence of their own, {licence}: read it before commercial use"
