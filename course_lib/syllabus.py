"""The course in order: what each lesson builds, and what it does to the one model that goes through it."""

COURSE = (  # number, short title, part
    ("00", "Start here", "find your way"),
    ("01", "A transformer from scratch", "build and understand"),
    ("02", "Sampling and inference", "build and understand"),
    ("03", "Scaling laws", "build and understand"),
    ("04", "Mixture of experts", "build and understand"),
    ("05", "Supervised fine-tuning", "tune and align"),
    ("06", "Reward model", "tune and align"),
    ("07", "PPO", "tune and align"),
    ("08", "GRPO", "tune and align"),
    ("09", "DPO", "tune and align"),
    ("10", "Retrieval", "put to use"),
    ("11", "Quantization", "put to use"),
)
