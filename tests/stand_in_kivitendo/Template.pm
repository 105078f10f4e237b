package Template;
1;
