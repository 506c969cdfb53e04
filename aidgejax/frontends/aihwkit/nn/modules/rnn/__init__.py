"""aihwkit.nn.modules.rnn"""
