import pytest
import torch

# The tests' tensors are small: a second thread brings little, and beside other work it costs many times the test.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test() -> None:
    torch.manual_seed(0)
