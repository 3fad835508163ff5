"""The command line: talks REST through ``gristmill.client``; its host commands run the services of this machine."""
