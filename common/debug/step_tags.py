"""Finds the step tags, such as `// [19.3-2] row maximum`, in chapters/ and common/: for attn_gdb.py and attn_lldb.py."""

import collections
import locale
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
FOLDERS = "chapters", "common"
EXTENSIONS = ".cpp", ".cu", ".cuh", ".hpp"

# A comment that begins with tags marks a step; a tag further on, or in a string, only mentions one.
COMMENT = re.compile(r"\s*//\s*((?:\[\d+(?:\.\d+)+-\d+\]\s*)+)(.*)")
TAG = re.compile(r"\d+(?:\.\d+)+-\d+")

# path: from the project's folder; line: where a breakpoint goes; what: the words behind the tag.
Place = collections.namedtuple("Place", "tag path line what")

USAGE = """tag                     lists the tags
tag TAG                 breakpoints at the first code line below each occurrence of // [TAG]
tag TAG PART            only in files whose path contains PART
tag TAG [PART] if CONDITION"""


def is_code(line):
    text = line.strip()
    return bool(text) and not text.startswith(("//", "#"))


def code_line(lines, comment):
    """The index of the first code line below the comment; of a function, the first line of its body."""
    indices = [index for index in range(comment + 1, len(lines)) if is_code(lines[index])]
    if not indices:
        return None
    first = indices[0]
    if lines[first][0].isspace():  # inside of a function
        return first
    for index in indices:
        text = lines[index].split("//")[0].rstrip()
        if text.endswith("{"):
            return next((inside for inside in indices if inside > index), first)
        if text.endswith(("}", ";")):
            return index
    return first


def tags_in(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        lines = file.read().splitlines()
    for index, line in enumerate(lines):
        match = COMMENT.match(line)
        code = code_line(lines, index) if match else None
        if code is not None:
            for tag in TAG.findall(match.group(1)):
                yield Place(tag, path, code + 1, match.group(2))


def all_places():
    places = []
    for folder in FOLDERS:
        for parent, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(EXTENSIONS):
                    places += tags_in(os.path.relpath(os.path.join(parent, name), ROOT))
    return sorted(places, key=lambda place: ([int(part) for part in re.split("[.-]", place.tag)], place.path))


def listing():
    """All tags and where they stand, in letters that the locale has."""
    places = all_places()
    tags = dict.fromkeys(place.tag for place in places)
    texts = []
    for tag in tags:
        texts.append(tag)
        texts += ["    %s:%d  %s" % (place.path, place.line, place.what) for place in places if place.tag == tag]
    letters = locale.nl_langinfo(locale.CODESET)
    return "\n".join(texts).encode(letters, "replace").decode(letters)


def parse(text):
    """The words behind the command: (places, condition or None). Raises ValueError with what to say."""
    words, _, condition = re.sub(r"(^|\s)if\s", "\0", text.strip(), count=1).partition("\0")
    words = words.split()
    if not words or len(words) > 2:
        raise ValueError(USAGE)
    tag = words[0].strip("[]")
    places = all_places()
    of_tag = [place for place in places if place.tag == tag]
    if not of_tag:
        known = " ".join(dict.fromkeys(place.tag for place in places))
        raise ValueError("no step has the tag %s; the tags: %s" % (words[0], known))
    chosen = [place for place in of_tag if len(words) == 1 or words[1] in place.path]
    if not chosen:
        raise ValueError("no file with tag %s has '%s' in its path; it is in: %s" % (
            tag, words[1], " ".join(dict.fromkeys(place.path for place in of_tag))))
    return chosen, condition.strip() or None
