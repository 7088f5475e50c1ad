"""What names of files, folders and channels say: transmitted light, a dye or a protein, labels."""

import re

from spotlight.images.modality import LIGHT_WORDS

PHRASES = {
    r"bright[ _-]field": "brightfield",
    r"light[ _-]field": "lightfield",
    r"(?:t|trans)[ _-]?pmt": "tpmt",
    r"(?:trans(?:mitted|mission)?|tl)[ _-](?:light|bf|brightfield|dic|phase)": "transmitted",
    r"phase[ _-]contrast|phasecontrast": "phase",
    r"(?:hoechst|alexa(?:[ _-]?fluor)?|af|atto|bodipy|draq|cf|janelia[ _-]fluor|jf)[ _-]?\d{1,5}": "dye",
    r"(?:sytox|syto|mitotracker|lysotracker|cellmask|sybr|picogreen|er[ _-]?tracker|calcein)"
    r"(?:[ _-]?(?:deep[ _-]red|green|red|orange|blue|am|\d{1,3}))*": "dye",
    r"propidium[ _-]iodide|7[ _-]?aad|concanavalin[ _-]?a?|texas[ _-]red": "dye",
    r"(?:sir|spy\d{3})[ _-](?:dna|actin|tubulin)": "dye",
    r"wheat[ _-]germ[ _-]agglutinin|cy[ _-]?[357](?:[ _.]5)?": "dye",
}
"""Names of several words, and the word of `WORDS` that they stand for; spaces, ``_`` and ``-`` may stand between."""
WORDS = {
    "input": " ".join(sorted(LIGHT_WORDS)),
    "target": "dna dapi hoechst nuclei nucleus nuclear nuc fluor fluo fluorescence fluorescent gfp egfp yfp eyfp venus "
    "cfp rfp mrfp mcherry tdtomato tomato mscarlet mneongreen citrine mito mitochondria actin phalloidin tubulin h2b "
    "lamin membrane er golgi lysosome wga tmrm tmre rhodamine fitc tritc neun map2 nfh gfap cd45 ki67 edu brdu dye "
    "target",
    "labels": "label labels mask masks seg segmentation instances",
}
"""Words by what they mean."""
ROLES = {word: role for role, words in WORDS.items() for word in words.split()}
NOT_WITHIN = r"(?<![a-z0-9])(?:{})(?![a-z0-9])"


def plain_words(text: str) -> str:
    """Put one word in the place of each name of several words; in lower case.

    Examples
    --------
    >>> plain_words("A01 Bright Field"), plain_words("Hoechst 33342"), plain_words("T PMT")
    ('a01 brightfield', 'dye', 'tpmt')
    """
    text = text.lower()
    for phrase, word in PHRASES.items():
        text = re.sub(NOT_WITHIN.format(phrase), word, text)
    return text


def roles_in(text: str) -> set[str]:
    """All roles that the words of a text name: input, target, labels."""
    return {ROLES[word] for word in re.split(r"[^a-z0-9]+", plain_words(text)) if word in ROLES}


def names_in(text: str, role: str) -> str:
    """The words of a text that name a role, as they are written; empty if there are none."""
    spans = [found for phrase in PHRASES for found in re.finditer(NOT_WITHIN.format(phrase), text, re.IGNORECASE)]
    named = {found.start(): found[0] for found in spans if roles_in(found[0]) == {role}}
    covered = {n for found in spans for n in range(*found.span())}
    for found in re.finditer(r"[A-Za-z0-9]+", text):
        if found.start() not in covered and ROLES.get(found[0].lower()) == role:
            named[found.start()] = found[0]
    return " ".join(named[start] for start in sorted(named))


def role_of(path: str, bare_folders: bool = False) -> tuple[str, str]:
    """The role that words in a path name, and the path without these words; the file name goes before folders.

    Folders keep their words if the name has some, unless `bare_folders`, as for ``bf/f1_bf`` beside ``dna/f1_dna``.

    Examples
    --------
    >>> role_of("day 1/f1 Bright Field"), role_of("dapi/f1")
    (('input', 'day 1/f1'), ('target', '/f1'))
    """
    folders, _, name = plain_words(path).rpartition("/")
    place = name if roles_in(name) else folders
    roles = roles_in(place)
    # "nuclei_labels" is a file of labels: the most special word counts.
    role = "labels" if "labels" in roles else roles.pop() if len(roles) == 1 else ""
    if place is folders:
        return role, f"{_bare(folders)}/{name}"
    above = _bare(folders) if bare_folders else folders
    return role, f"{above}/{_bare(name)}"


def _bare(text: str) -> str:
    text = re.sub(r"[a-z0-9]+", lambda word: "" if word[0] in ROLES else word[0], text)
    return re.sub(r"[^a-z0-9/]+", " ", text).strip()
