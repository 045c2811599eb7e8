"""Files and folders: paths, text read with suspicion, writing that is whole or not at all, work folders, claims."""

from sottovoce.files.claims import MARK, Busy, claimed, holder, leads
from sottovoce.files.folders import atomic_folder, put_back, read_whole
from sottovoce.files.leftovers import scratch, sweep
from sottovoce.files.paths import (
    cache_folder,
    check_writable,
    free_at,
    inside,
    is_folder,
    local_path,
    reached,
    regular_file,
)
from sottovoce.files.text import (
    dump_yaml,
    is_number,
    json_object,
    load_yaml,
    parse_json,
    read_json,
    read_lines,
    read_text,
)
from sottovoce.files.work import (
    check_own,
    note_saving,
    own_folder,
    place_for,
    shared_folder,
    tidy,
    tidy_saved,
    work_folder,
    working_in,
)
from sottovoce.files.write import append_lines, atomic_write, explained, whole_lines

__all__ = [
    "MARK",
    "Busy",
    "append_lines",
    "atomic_folder",
    "atomic_write",
    "cache_folder",
    "check_own",
    "check_writable",
    "claimed",
    "dump_yaml",
    "explained",
    "free_at",
    "holder",
    "inside",
    "is_folder",
    "is_number",
    "json_object",
    "leads",
    "load_yaml",
    "local_path",
    "note_saving",
    "own_folder",
    "parse_json",
    "place_for",
    "put_back",
    "reached",
    "read_json",
    "read_lines",
    "read_text",
    "read_whole",
    "regular_file",
    "scratch",
    "shared_folder",
    "sweep",
    "tidy",
    "tidy_saved",
    "whole_lines",
    "work_folder",
    "working_in",
]
