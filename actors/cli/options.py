"""Options that many commands share."""

from typing import Annotated, TypeAlias

from cyclopts import Parameter

Json: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print data as JSON on stdout.")]
