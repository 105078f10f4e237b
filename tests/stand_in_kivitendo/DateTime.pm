package DateTime;
1;
