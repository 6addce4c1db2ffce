"""What idling and analyses cost, from a dated price table.

Read model.py first (pure sums), then report.py and plot.py; prices.yaml and base_configuration.yaml are the data.
"""
