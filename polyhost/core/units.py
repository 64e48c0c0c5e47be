"""Inside: mm, mm/s, °C, seconds, bytes and fractions of 1.  These carry them over the border."""


def mm_s_from_mm_min(mm_min: float) -> float:
    return mm_min / 60.0


def mm_min_from_mm_s(mm_s: float) -> float:
    return mm_s * 60.0


def fraction_from_percent(percent: float) -> float:
    return percent / 100.0


def percent_from_fraction(fraction: float) -> float:
    return fraction * 100.0
