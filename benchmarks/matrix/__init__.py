"""Does a run that is killed again and again, at other numbers of workers and on sources that grow, train the same?"""
