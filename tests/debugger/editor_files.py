"""What .vscode/launch.json and tasks.json name must be there: programs, targets, presets, tasks, files. They are JSON
without comments. Run by tags_test.sh in gdb's Python, with `arguments`: the project's folder, the build folder, the
program attn and the worker of row_maximum that CMake makes."""

import json
import os
import re

root, build, attn, worker = arguments  # noqa: F821
problems = []


def load(path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return json.load(file)


def must(holds, text):
    if not holds:
        problems.append(text)


def here(text):
    """As the editor would put it where row_maximum.cu is open, with this build in place of the presets'."""
    text = text.replace("${fileBasenameNoExtension}", "row_maximum")
    text = re.sub(r"^\$\{workspaceFolder\}/build/(debug|release)/", lambda match: build + "/", text)
    return text.replace("${workspaceFolder}", root)


def files_in(text):
    return re.findall(r"(?:^|(?<=[\s'/]))((?:common|tests|chapters)/[\w./-]+)", text)


launch, tasks = load(".vscode/launch.json"), load(".vscode/tasks.json")
presets = load("CMakePresets.json")
labels = [task["label"] for task in tasks["tasks"]]
must(len(set(labels)) == len(labels), "two tasks of one name")

for configuration in launch["configurations"]:
    name = configuration["name"]
    must(here(configuration["program"]) in (attn, worker), "%s: no program %s" % (name, configuration["program"]))
    must(configuration["preLaunchTask"] in labels, "%s: no task %s" % (name, configuration["preLaunchTask"]))
    commands = [command["text"] for command in configuration.get("setupCommands", [])]
    for text in commands + configuration.get("initCommands", []) + configuration["args"]:
        for path in files_in(text):
            must(os.path.exists(os.path.join(root, path)), "%s: no file %s" % (name, path))

targets = [os.path.basename(attn)]
for task in tasks["tasks"]:
    name, command, words = task["label"], task["command"], task["args"]
    if command == "cmake":
        kind = "buildPresets" if "--build" in words else "configurePresets"
        preset = words[words.index("--preset") + 1]
        must(preset in [one["name"] for one in presets[kind]], "%s: no preset %s" % (name, preset))
        if "--target" in words:
            must(words[words.index("--target") + 1] in targets, "%s: no such target" % name)
    else:
        must(os.access(os.path.join(root, command), os.X_OK), "%s: no program %s" % (name, command))
    if os.path.basename(command) == "attn":
        with open(os.path.join(root, "common/program/help.txt"), encoding="utf-8") as file:
            must(re.search(r"^  %s " % words[0], file.read(), re.M), "%s: no verb %s" % (name, words[0]))
    must(task.get("dependsOn", labels[0]) in labels, "%s: it depends on no task" % name)

print("\n".join(problems) if problems else "the files of the editor name what is there")
