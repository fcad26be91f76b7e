"""Money as integers of nano-USD: sums are exact, and a cent is ten million of them."""

from decimal import ROUND_HALF_EVEN, Context, Decimal

NANOUSD_PER_USD = 1_000_000_000
MAX_NANOUSD = 1_000_000 * NANOUSD_PER_USD

_NANO = Decimal("1e-9")
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def add_nanousd(*amounts: int) -> int:
    """Their sum, at most the largest amount that there is."""
    return min(MAX_NANOUSD, sum(amounts))


def to_nanousd(usd: Decimal) -> int:
    """Exact to a nano-dollar, half to even beyond it; raises `ValueError` outside 0 to 1,000,000 USD."""
    if not usd.is_finite() or not 0 <= usd <= MAX_NANOUSD // NANOUSD_PER_USD:
        raise ValueError(f"{usd} USD is not an amount: use 0 to 1000000")
    return int(usd.quantize(_NANO, context=_EXACT).scaleb(9, context=_EXACT))


def to_usd(nanousd: int) -> Decimal:
    """The same amount in dollars, without rounding and without exponent notation."""
    return (Decimal(nanousd) / NANOUSD_PER_USD).normalize() + Decimal(0)
