"""For gdb: shows tensors, follows `attn run` into the process that computes, and adds the command `tag`.

In gdb: source common/debug/attn_gdb.py. Then `tag` lists the steps that the sources name, and `tag 19.3-2` stops at
one. `help tag` says more.
"""

import os
import sys

import gdb

HERE = os.path.dirname(os.path.realpath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)
import step_tags  # noqa: E402


class TagCommand(gdb.Command):
    def __init__(self):
        super().__init__("tag", gdb.COMMAND_BREAKPOINTS)

    def invoke(self, text, from_tty):
        if not text.strip():
            print(step_tags.listing())
            return
        try:
            places, condition = step_tags.parse(text)
        except ValueError as error:
            raise gdb.GdbError(str(error))
        not_here = []
        for place in places:
            where = "%s:%d" % (place.path, place.line)
            if gdb.objfiles() and not in_program(where):
                not_here.append(where)
                continue
            breakpoint = gdb.Breakpoint(where)  # says where it is
            if condition:
                breakpoint.condition = condition
        if len(not_here) == len(places):
            raise gdb.GdbError("this program has no code for tag %s: %s" % (places[0].tag, " ".join(not_here)))
        for where in not_here:
            print("not in this program: " + where)


TagCommand.__doc__ = "Stops at the steps that the sources name by tags.\n\n" + step_tags.USAGE


def in_program(where):
    try:
        return bool(gdb.decode_line(where)[1])
    except gdb.error:
        return False


TagCommand()
gdb.execute("set follow-fork-mode child")
gdb.execute("source " + os.path.join(step_tags.ROOT, "common", "tensor", "gdb_printers.py"))
