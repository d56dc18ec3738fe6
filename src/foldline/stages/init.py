"""Stage init: looks at a folder or table of pictures, says what it understood, and writes the facts.

Reads the place that is named; writes `configs/<comp>/competition.yaml`, and where the pictures are many a link to them,
`input/<comp>`. The pictures themselves are never touched.
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from foldline.core.asking import agreed, ask, is_terminal
from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import LONGEST, Layout, shipped
from foldline.core.progress import say
from foldline.core.schema import HEADS, write_schemas
from foldline.core.tables import write_text
from foldline.core.yaml_models import parse_yaml
from foldline.readers.start.look import Look, look, require_table
from foldline.readers.start.paths import UnclearLabelError
from foldline.readers.start.tables import is_table
from foldline.readers.start.understood import facts_text

LARGEST_COPY = 2e9  # bytes: more is linked in place of being copied
PLAIN_NAMES = {"labels", "label", "train", "data", "index", "metadata", "annotations", "table", "targets"}


def init(layout: Layout, comp: str | None, *, path: Path, label: str = "", yes: bool = False) -> str:
    """Writes the facts of the pictures at `path`, unless they are there.

    Args:
        comp: the competition's name; None: made of the folder's.
        path: a folder of pictures, or a table that names pictures below its folder.
        label: what the label is, where looking does not tell.
        yes: do not ask; what was guessed is then listed as `unconfirmed`.

    Returns:
        The competition's name.

    Raises:
        FoldlineError: the name is another folder's; nothing tells the label; or the person said no.
    """
    place = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - links stay as they were typed
    comp = comp or name_of(place)
    root = place.parent if place.is_file() else place
    require_table(place)
    _require_apart(layout, root, place)
    if layout.competition_config(comp).is_file():
        _require_same(layout, comp, place)
        say(f"{layout.relative(layout.competition_config(comp))} is there already, and is used as it stands")
        return comp
    if not place.exists() and (shipped() / place.name / "competition.yaml").is_file():
        raise FoldlineError(
            f"there is no folder '{place.name}' here; a competition of that name has facts that come with foldline",
            where=str(place.parent),
            next=f"make run COMP={place.name}",
        )
    seen = _look(place, label)
    inside = layout.input(comp).resolve() == root.resolve()
    linked = seen.size > LARGEST_COPY and not inside
    _say(layout, comp, place, seen, linked=linked, inside=inside)
    confirmed = not yes and _agreed()
    if linked:
        _link(layout, comp, root)
    source = {"kind": "placed"} if linked or inside else {"kind": "folder", "name": _name_from_here(layout, root)}
    day = datetime.now(UTC).date().isoformat()
    remark = f"Facts of {comp}, as foldline understood {place.name} on {day}."
    text = facts_text(seen.found, title=comp, source=source, remark=remark, confirmed=confirmed)
    target = layout.competition_config(comp)
    Competition.parse(parse_yaml(text, where=target.name), where=target.name)
    write_schemas(layout)
    write_text(target, HEADS["facts"] + text)
    say(f"wrote {layout.relative(target)}; mend there what is wrong")
    return comp


def name_of(place: Path) -> str:
    """A competition's name, made of a folder's or a table's.

    >>> name_of(Path("/data/My Pictures (2)")), name_of(Path("/data/birds/labels.csv")), name_of(Path("/data/age.csv"))
    ('my-pictures-2', 'birds', 'age')
    """
    name = place.name
    if is_table(name):
        name = name.partition(".")[0]
        name = place.parent.name if name.lower() in PLAIN_NAMES else name
    name = re.sub(r"[^\w+.-]+", "-", name.lower()).strip("-.")
    while len(name.encode()) > LONGEST:
        name = name[:-1]
    return name or "pictures"


def _require_apart(layout: Layout, root: Path, place: Path) -> None:
    if layout.root.is_relative_to(root.resolve()):
        beside = quote(str(root.parent / "work"))
        way = f"mkdir {beside} && cd {beside} && foldline run {quote(str(place))}"
        raise FoldlineError(
            "the results would be written into the folder of the pictures",
            where=str(root),
            next=f"go to another folder and name this one: {way}",
        )


def _look(place: Path, label: str) -> Look:
    """What lies there; asks on a terminal where several things could be the label."""
    try:
        return look(place, label)
    except UnclearLabelError as unclear:
        if not is_terminal():
            raise
        say(f"{unclear.what}: {unclear.where}")
        names = list(unclear.choices)
        for number, name in enumerate(names, 1):
            say(f"  {number}. {name}: {unclear.choices[name]}")
        answer = ask(f"which is the label? 1 to {len(names)}, anything else stops: ")
        if answer not in [str(number) for number in range(1, len(names) + 1)]:
            raise
        return look(place, names[int(answer) - 1])


def _say(layout: Layout, comp: str, place: Path, seen: Look, *, linked: bool, inside: bool) -> None:
    """What was understood, what was guessed, and what becomes of the files."""
    say(f"{place.name}, understood as '{comp}':")
    for line in seen.found.said:
        say(f"  {line}")
    for guess in seen.found.guesses.values():
        say(f"  guessed: {guess}")
    size, where = f"{seen.size / 1e6:,.1f} MB", layout.relative(layout.input(comp))
    if inside:
        say(f"  {size} lie in {where} already, and stay there as they are")
    elif linked:
        say(f"  {size} are too much to copy: {where} becomes a link to the folder, which stays as it is")
    else:
        say(f"  {size} will be copied to {where}; your own files stay as they are")


def _agreed() -> bool:
    """Whether a person has seen and confirmed it; raises FoldlineError where he says no."""
    if not is_terminal():
        return False
    if not agreed("is that right?"):
        raise FoldlineError(
            "nothing was written",
            next="say what the label is: LABEL=first-folder, last-folder, a column, or a pattern such as '{label}_*'; "
            "or write the facts yourself (docs/add-a-competition.md)",
        )
    return True


def _link(layout: Layout, comp: str, root: Path) -> None:
    place = layout.input(comp)
    if place.is_symlink() and place.resolve() == root.resolve():
        return
    if place.exists():
        raise FoldlineError(
            "other files lie there", where=layout.relative(place), next="give another name: COMP=<name>"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(root.resolve(), target_is_directory=True)


def _name_from_here(layout: Layout, root: Path) -> str:
    """The folder as the facts name it: below the project folder where it lies there and one types there."""
    home = Path.cwd()
    inside = home == layout.root and root.is_relative_to(home)
    return root.relative_to(home).as_posix() if inside else str(root)


def _require_same(layout: Layout, comp: str, place: Path) -> None:
    """Raises where the facts of this name are of another place."""
    facts = load_competition(layout, comp)
    root = place.parent if place.is_file() else place
    named = Path(os.path.expanduser(facts.source.name)) if facts.source.kind == "folder" else layout.input(comp)  # noqa: PTH111
    other_table = place.is_file() and place.name not in (facts.train.file or "")
    if named.resolve() != root.resolve() or other_table:
        raise FoldlineError(
            f"'{comp}' is the name of other pictures: {facts.source.kind} {facts.source.name}".rstrip(),
            where=layout.relative(layout.competition_config(comp)),
            next=f"give these another name: COMP={comp}-2",
        )
