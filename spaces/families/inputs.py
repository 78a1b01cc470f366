"""What a family takes: one sentence where it is offered something else."""


def refusal(
    family: str, takes: str, input_shape: tuple[int, ...], vocabulary: tuple[int, ...]
) -> str:
    """Why `family`, which `takes` other inputs, cannot read these.

    >>> refusal("mlp", "numbers", (40,), (5000,))
    'mlp takes numbers, not ids of shape (40,)'
    """
    given = f"{'ids of shape' if vocabulary else 'numbers of shape'} {input_shape}"
    return f"{family} takes {takes}, not {given}"
