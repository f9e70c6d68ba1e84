"""What the tests wrap the server's secrets under: the first key that each process under test is told."""

import os
from typing import Final

from pydantic import SecretStr

from infra.identity.key_wrapping import KeyWrapping

KEY: Final = os.environ["WEIR_ENCRYPTION_KEYS"]
WRAPPING: Final = KeyWrapping([SecretStr(KEY)])
