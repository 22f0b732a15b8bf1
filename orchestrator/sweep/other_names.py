"""What other tools call a key or a field of a sweep file, for "did you mean"."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_NAMES = {
    "model": "arch architecture backbone model_name net network",
    "depth": "layers n_layers num_layers",
    "width": "widen_factor width_mult width_multiplier",
    "dataset": "data data_name data_set dataset_name",
    "classes": "n_classes nb_classes num_classes",
    "image_size": "img_size imgsz input_size resolution",
    "train_subset": "limit_train n_train num_train subset",
    "validation": "holdout n_val n_valid num_val val val_size valid valid_size validation_size "
    "validation_split",
    "trainable": "freeze freezing frozen mode train_mode unfreeze",
    "init": "init_method initialisation initialization initializer weight_init",
    "bn_eps": "bn_epsilon eps epsilon",
    "weights_file": "checkpoint ckpt pretrained pretrained_path weights_path",
    "epochs": "max_epochs n_epochs nb_epochs num_epochs num_train_epochs",
    "batch_size": "batch batchsize bs train_batch_size",
    "bn_batch": "ghost_batch_size micro_batch_size virtual_batch_size",
    "optimizer": "opt optim optimiser",
    "lr": "base_lr init_lr initial_lr learning_rate learningrate",
    "momentum": "beta1",
    "weight_decay": "decay l2 wd weightdecay",
    "schedule": "lr_policy lr_schedule lr_scheduler sched scheduler",
    "milestones": "lr_milestones lr_steps",
    "lr_decay": "decay_rate gamma lr_gamma",
    "restart_epochs": "t_0",
    "warmup_epochs": "lr_warmup_epochs warmup",
    "crop_padding": "pad padding",
    "flip": "hflip horizontal_flip",
    "normalisation": "normalization normalize",
    "precision": "amp dtype mixed_precision",
    "options": "kwargs model_args model_kwargs",
    "augmentation": "aug transforms",
    "name": "experiment experiment_name project title",
    "base": "common config defaults fixed",
    "axes": "grid hyperparameters parameters params search_space sweep",
    "paired": "zip",
    "seeds": "n_seeds num_seeds random_seed random_state repeats replicates",
    "cpus": "num_cpus threads",
    "gpus": "devices gpu n_gpus num_gpus",
    "memory": "host_memory mem mem_gb memory_gb ram",
    "gpu_type": "accelerator accelerator_type accelerators gpu_types",
    "decoders": "num_workers workers",
    "at_once": "concurrency max_concurrent max_concurrent_trials max_parallel parallel",
}
OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {other: ours for ours, others in _NAMES.items() for other in others.split()}
)
"""Another tool's name, in lower case with underscores → ours."""


def ours(word: str) -> str:
    """Our name for another tool's; the word itself where it is none."""
    return OTHER_NAMES.get(word.lower().replace("-", "_"), word)
