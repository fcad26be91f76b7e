"""Money as integers of nano-USD: sums are exact, and a cent is ten million of them."""

from decimal import ROUND_HALF_EVEN, Decimal

NANOUSD_PER_USD = 1_000_000_000
MAX_NANOUSD = 1_000_000 * NANOUSD_PER_USD


def to_nanousd(usd: Decimal) -> int:
    """Exact to a nano-dollar, half to even beyond it; raises `ValueError` outside 0 to 1,000,000 USD."""
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{usd} USD is not an amount: use 0 to 1000000")
    nanousd = int((usd * NANOUSD_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))
    if nanousd > MAX_NANOUSD:
        raise ValueError(f"{usd} USD is over the limit of 1000000")
    return nanousd


def to_usd(nanousd: int) -> Decimal:
    """The same amount in dollars, without rounding and without exponent notation."""
    return (Decimal(nanousd) / NANOUSD_PER_USD).normalize() + Decimal(0)
