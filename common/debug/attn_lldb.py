"""For lldb: follows `attn run` into the process that computes, and adds the command `tag`.

In lldb: command script import common/debug/attn_lldb.py. Then `tag` lists the steps that the sources name, and
`tag 19.3-2` stops at one. `help tag` says more.
"""

import os
import sys

import lldb

HERE = os.path.dirname(os.path.realpath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)
import step_tags  # noqa: E402


class TagCommand:
    def __init__(self, debugger, _internal):
        self.debugger = debugger

    def get_short_help(self):
        return "Stops at the steps that the sources name by tags."

    def get_long_help(self):
        return self.get_short_help() + "\n\n" + step_tags.USAGE

    def __call__(self, debugger, text, context, result):
        if not text.strip():
            result.AppendMessage(step_tags.listing())
            return
        target = debugger.GetSelectedTarget()
        try:
            places, condition = step_tags.parse(text)
            if not target:
                raise ValueError("no program yet: file build/debug/attn")
        except ValueError as error:
            result.SetError(str(error))
            return
        not_here = []
        for place in places:
            where = "%s:%d" % (place.path, place.line)
            breakpoint = breakpoint_at(target, place)
            if not breakpoint:
                not_here.append(where)
                continue
            if condition:
                breakpoint.SetCondition(condition)
            count = breakpoint.GetNumLocations()
            line = breakpoint.GetLocationAtIndex(0).GetAddress().GetLineEntry().GetLine()
            result.AppendMessage("Breakpoint %d: %s:%d%s" % (breakpoint.GetID(), place.path, line,
                                                             " (%d locations)" % count if count > 1 else ""))
        if len(not_here) == len(places):
            result.SetError("this program has no code for tag %s: %s" % (places[0].tag, " ".join(not_here)))
            return
        for where in not_here:
            result.AppendMessage("not in this program: " + where)


def breakpoint_at(target, place):
    """By the whole path, or, where the program was built under another one, by the file's name; None without code."""
    for path in os.path.join(step_tags.ROOT, place.path), os.path.basename(place.path):
        breakpoint = target.BreakpointCreateByLocation(path, place.line)
        if breakpoint.GetNumLocations() > 0:
            return breakpoint
        target.BreakpointDelete(breakpoint.GetID())
    return None


def __lldb_init_module(debugger, _internal):
    debugger.HandleCommand("command script add -c attn_lldb.TagCommand tag")
    debugger.HandleCommand("settings set target.process.follow-fork-mode child")
