"""What each of the two processes of test_recipes.py does: the page's block for DistributedDataParallel."""

import os
import sys

import torch
import torch.distributed as dist

from tests.batchcam.recipes import RECIPES, leave, run, setting
from tests.toys import hooks

torch.set_num_threads(1)
rank = int(os.environ["RANK"])

static = setting()
block = RECIPES["ddp"].replace("DistributedDataParallel(model)", "DistributedDataParallel(model, static_graph=True)")
refused = "nothing"
try:
    exec(block, static)
except ValueError as error:
    refused = str(error)
assert hooks(static["model"]) == 0

vars(dist)["init_process_group"] = lambda backend: None  # a process can meet the other once alone
names = setting()
images, labels = names["loader"].dataset.tensors
names["loader"] = [(images[rank::2], labels[rank::2])] * 2
run("ddp", names)
torch.save([names["optimizer"].steps, names.get("maps"), refused], f"{sys.argv[1]}{rank}")
leave(names, names["model"])
